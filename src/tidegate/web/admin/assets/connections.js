// Connections that are live: the list is fetched anew when something moved, and left alone under the pointer.
"use strict";
(() => {
  const { $, live, put, used } = window.tidegate;
  const list = $("#connections"), lede = $("[data-lede]");
  let seen = null, asked = 0;

  const sum = () => put(lede, $("[data-sum]", list)?.dataset.sum || lede.textContent);
  list.addEventListener("htmx:after:swap", sum);
  live((frame) => {
    sum();
    const now = Date.now(), since = now - asked;
    if (since < 2000 || (frame.stamp === seen && since < 10000 && !("stale" in list.dataset))) return;
    if (used(list)) return;
    delete list.dataset.stale;
    seen = frame.stamp;
    asked = now;
    window.htmx?.ajax("GET", $("[data-refresh]", list).dataset.refresh, { target: "#connections" });
  });
})();
