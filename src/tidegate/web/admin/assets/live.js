// The stream of what is live, for pages that show any: one for the page, closed while nobody looks.
"use strict";
(() => {
  const { $, base } = window.tidegate;
  const hold = $("[data-hold]"), text = $("[data-live-state]"), dot = $("[data-live-dot]");
  let source = null, held = false, wait = 1000, last = "", hiding = 0, show = () => {}, path = () => "/live";

  const put = (node, value) => { if (node && node.textContent !== value) node.textContent = value; };
  const frame = (given) => {
    last = given.time;
    put(text, `live, ${given.time} UTC`);
    dot.className = "dot ok";
    document.body.dataset.level = given.level;
    $(".state .dot").className = `dot ${given.level}`;
    put($("[data-state]"), given.text);
    show(given);
  };
  const close = () => { source?.close(); source = null; };
  const open = () => {
    if (source || held || document.hidden) return;
    source = new EventSource(base + path());
    source.onmessage = (event) => { wait = 1000; frame(JSON.parse(event.data)); };
    source.addEventListener("ended", () => { close(); held = true; dot.className = "dot off"; put(text, "your session has ended; load the page to sign in"); });
    source.onerror = () => {
      close();
      wait = Math.min(wait * 2, 30000);
      dot.className = "dot soon";
      put(text, `figures of ${last || "its loading"}; trying again in ${Math.round(wait / 1000)} s`);
      setTimeout(open, wait * (0.8 + 0.4 * Math.random()));
    };
  };
  hold.addEventListener("click", () => {
    held = !held;
    hold.setAttribute("aria-pressed", String(held));
    put($("span", hold), held ? "Go on" : "Hold still");
    if (held) { close(); put(text, `held at ${last || "its loading"} UTC`); dot.className = "dot off"; } else open();
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = setTimeout(close, 30000); else open();
  });
  // What somebody uses is not replaced: not either by an answer that was asked for before they began. The mark tells
  // the page to ask again.
  const used = (part) => part.matches(":hover, :focus-within") || Boolean($(":popover-open", part));
  document.addEventListener("htmx:before:swap", (event) => {
    const { sourceElement, target } = event.detail.ctx;
    if (sourceElement !== document.body || !used(target)) return;
    event.preventDefault();
    target.dataset.stale = "";
  });
  window.tidegate.used = used;
  window.tidegate.live = (given, stream = path) => { show = given; path = stream; open(); };
  window.tidegate.put = put;
})();
