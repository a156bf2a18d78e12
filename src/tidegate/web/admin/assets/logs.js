// New lines of the log: copies of the blank row, put on top; they wait while the pointer or the focus is in the list.
"use strict";
(() => {
  const { $, $$, base, live, put } = window.tidegate;
  const MOST = 200;
  const body = $("[data-lines]"), table = $("[data-table]"), none = $("[data-none]"), left = $("[data-left]");
  const blank = $("[data-blank]").content.querySelector("tr"), path = $("[data-stream]").dataset.stream;
  let waiting = [];

  const build = (line) => {
    const tr = blank.cloneNode(true);
    tr.dataset.line = line.key;
    $$("[data-t]", tr).forEach((node) => { node.textContent = line.texts[node.dataset.t]; node.hidden = !node.textContent; });
    $$("[data-h]", tr).forEach((node) => {
      const to = line.links[node.dataset.h];
      if (to) node.href = to;
      node.hidden = !to && !("stays" in node.dataset);
    });
    $$(".acts .vh", tr).forEach((node) => { node.textContent = ` ${line.texts.user || line.texts.address}, ${line.texts.time}`; });
    $("[data-pill]", tr).className = `pill ${line.tone}`;
    const time = $("time", tr);
    time.dateTime = time.title = line.exact;
    return tr;
  };
  const flush = () => {
    const known = new Set($$("tr", body).map((tr) => tr.dataset.line));
    const fresh = waiting.filter((line) => !known.has(line.key));
    waiting = [];
    if (!fresh.length) return;
    body.prepend(...fresh.reverse().map(build));
    while (body.children.length > MOST) body.lastElementChild.remove();
    table.hidden = false;
    if (none) none.hidden = true;
  };
  live((frame) => {
    waiting.push(...frame.lines);
    waiting = waiting.slice(-MOST);
    if (frame.left) { put(left, frame.left); left.hidden = false; }
    if (waiting.length && !body.matches(":hover, :focus-within")) flush();
  }, () => {
    const after = $("time", body)?.dateTime || "";
    return path.replace(base, "") + (after ? `${path.includes("?") ? "&" : "?"}after=${encodeURIComponent(after)}` : "");
  });
})();
