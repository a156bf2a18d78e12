// The live part of the dashboard: what the stream says, written into text nodes, bars and paths.
"use strict";
(() => {
  const { $, $$, base, live, put, used } = window.tidegate;
  const icons = $("link[rel=icon]").href.replace(/mark\.svg$/, "icons.svg");
  const ICONS = { in: "arrow-down-to-line", out: "arrow-up-from-line" };
  const body = $("[data-rows]");
  let refused = null, asked = 0;

  const make = (tag, classes = "", ...children) => {
    const node = document.createElement(tag);
    if (classes) node.className = classes;
    node.append(...children);
    return node;
  };
  const cell = (classes, ...children) => { const node = make("td", classes, ...children); node.setAttribute("role", "cell"); return node; };
  const icon = (name) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    svg.setAttribute("class", "ico s");
    svg.setAttribute("aria-hidden", "true");
    use.setAttribute("href", `${icons}#${name}`);
    svg.append(use);
    return svg;
  };

  const build = (row) => {
    const tr = make("tr");
    tr.setAttribute("role", "row");
    tr.dataset.rowKey = row.key;
    const name = make("bdi", "", row.user), who = body.dataset.links ? make("a", "name", name) : make("b", "", name);
    if (body.dataset.links) who.href = row.href;
    const path = make("span", "cut path mono", make("bdi", "", row.path));
    path.title = row.path;
    const bar = make("div", "xfer");
    if (row.percent >= 0) {
      const progress = make("progress");
      progress.max = 100;
      progress.setAttribute("aria-label", `${row.user} ${row.path}`);
      bar.append(progress);
    }
    const done = make("span");
    done.dataset.done = "";
    bar.append(done);
    const speed = cell("num tr"), left = cell("num off");
    speed.dataset.speed = "";
    left.dataset.left = "";
    const direction = row.direction === "in" ? "" : ` ${row.direction}`;
    tr.append(cell("off", make("span", `dir${direction}`, icon(ICONS[row.direction] || "repeat"), make("span", "vh", row.kind))), cell("t", who), cell("w-path w", path), cell("w w-prog", bar), speed, left);
    return tr;
  };
  const fill = (tr, row) => {
    const bar = $("progress", tr);
    if (bar) {
      bar.value = Math.max(row.percent, 0);
      bar.className = row.stalled ? "stall" : row.direction;
    }
    put($("[data-done]", tr), row.done);
    put($("[data-speed]", tr), row.speed);
    put($("[data-left]", tr), row.left);
  };
  const rows = (given, of) => {
    if (!body) return;
    const known = new Map($$("tr", body).map((tr) => [tr.dataset.rowKey, tr]));
    const wanted = given.map((row) => { const tr = known.get(row.key) || build(row); fill(tr, row); return tr; });
    const same = wanted.length === body.children.length && wanted.every((tr, index) => tr === body.children[index]);
    if (!same && !body.matches(":hover, :focus-within")) body.replaceChildren(...wanted);
    $("[data-none]").hidden = given.length > 0;
    put($("[data-of]"), of);
  };
  const show = (frame) => {
    $("[data-verdict]").className = `verdict ${frame.level}`;
    put($("[data-title]"), frame.title);
    put($("[data-more]"), frame.more);
    Object.entries(frame.texts || {}).forEach(([key, text]) => put($(`[data-text="${key}"]`), text));
    Object.entries(frame.curves || {}).forEach(([key, path]) => {
      const spark = $(`[data-curve="${key}"]`);
      if (spark) { spark.children[0].setAttribute("d", path.area); spark.children[1].setAttribute("d", path.line); }
      $(`[data-area="${key}"]`)?.setAttribute("d", path.area);
    });
    if (frame.rows) rows(frame.rows, frame.of);
    const list = $("#refusals");
    if (refused === null) refused = frame.refused;
    if (list && (frame.refused !== refused || "stale" in list.dataset) && Date.now() - asked > 3000 && !used(list)) {
      delete list.dataset.stale;
      refused = frame.refused;
      asked = Date.now();
      window.htmx?.ajax("GET", `${base}/live/refusals`, { target: "#refusals" });
    }
  };

  live(show);
})();
