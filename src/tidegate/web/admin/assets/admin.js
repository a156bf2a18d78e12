// What pages do in the browser beyond links and forms. Every page works without it, but for what is live.
// The policy of the pages allows no text to become HTML but by htmx, which gets it from this server alone.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const body = document.body;
  const base = body.dataset.base || "";
  const token = body.dataset.token || "";

  const policy = window.trustedTypes?.createPolicy("htmx", { createHTML: (text) => text });
  window.htmx?.registerExtension("tidegate", {
    init: (api) => { if (policy) api.initSecurity({ createHTML: (text) => policy.createHTML(text), createScript: () => "" }); },
    htmx_config_request: (_, detail) => { detail.ctx.request.headers["X-CSRF-Token"] = token; },
  });

  // -- theme ------------------------------------------------------------------------------------------------
  const setTheme = (theme) => {
    const root = document.documentElement;
    if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
    document.cookie = `tidegate_theme=${theme}; path=/; max-age=${theme ? 31536000 : 0}; samesite=lax`;
    $$("[data-theme-set]").forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.themeSet === theme)));
  };

  // -- toasts: only what is done ------------------------------------------------------------------------------
  const toast = (text) => {
    const box = document.createElement("div");
    box.className = "toast";
    box.append(Object.assign(document.createElement("div"), { textContent: text }));
    $(".toasts")?.append(box);
    setTimeout(() => box.remove(), 8000);
  };
  $$(".toasts .toast").forEach((one) => setTimeout(() => { if (!one.matches(":hover, :focus-within")) one.remove(); }, 8000));

  // -- palette ------------------------------------------------------------------------------------------------
  const palette = $("#palette"), wish = $("#pq"), list = $("#plist");
  let asked = 0, waiting = 0;
  const options = () => $$("[role=option]", list);
  const choose = (index) => {
    const all = options();
    if (!all.length) { wish.removeAttribute("aria-activedescendant"); return; }
    const at = (index + all.length) % all.length;
    all.forEach((one, number) => one.setAttribute("aria-selected", String(number === at)));
    wish.setAttribute("aria-activedescendant", all[at].id);
    all[at].scrollIntoView({ block: "nearest" });
  };
  const show = (groups) => {
    let number = 0;
    list.replaceChildren(...groups.map((group, index) => {
      const box = document.createElement("div"), head = document.createElement("span");
      box.setAttribute("role", "group");
      head.id = `pg-${index}`;
      head.textContent = group.title;
      box.setAttribute("aria-labelledby", head.id);
      box.append(head, ...group.rows.map((row) => {
        const option = document.createElement("div");
        option.setAttribute("role", "option");
        option.id = `po-${number++}`;
        option.dataset.href = row.href;
        const name = document.createElement("bdi"), hint = document.createElement("span");
        name.textContent = row.text;
        hint.className = "sub";
        hint.textContent = row.hint || "";
        option.append(name, hint);
        return option;
      }));
      return box;
    }));
    choose(0);
  };
  const ask = async () => {
    const mine = ++asked;
    const answer = await fetch(`${base}/find?q=${encodeURIComponent(wish.value)}`, { headers: { "HX-Request": "true" } });
    if (mine === asked && answer.ok) show(await answer.json());
  };
  const openPalette = () => {
    if (!palette) return;
    const side = $("#side");
    if (side?.matches(":popover-open")) side.hidePopover();
    palette.showModal();
    wish.select();
    ask();
  };
  wish?.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 120); });

  // -- clicks -------------------------------------------------------------------------------------------------
  document.addEventListener("click", (event) => {
    if (event.target instanceof HTMLDialogElement) { event.target.close(); return; }
    const one = event.target.closest?.("[data-theme-set],[data-palette],[data-dialog],[data-close],[data-copy],[data-dismiss],[role=option]");
    if (!one) return;
    if ("themeSet" in one.dataset) setTheme(one.dataset.themeSet);
    else if ("palette" in one.dataset) openPalette();
    else if (one.dataset.dialog) $(`#${CSS.escape(one.dataset.dialog)}`)?.showModal();
    else if ("close" in one.dataset) one.closest("dialog")?.close();
    else if ("dismiss" in one.dataset) one.closest(".toast")?.remove();
    else if ("copy" in one.dataset) navigator.clipboard?.writeText($("code, pre", one.parentElement)?.textContent || "").then(() => toast("Copied."));
    else if (one.dataset.href) location.assign(one.dataset.href);
  });

  // -- letters alone do nothing for who has switched them off (WCAG 2.1.4): speech input types letters ----------
  const keysOff = () => /(?:^|; )tidegate_keys=off(?:;|$)/.test(document.cookie);
  const keysBox = $("[data-keys]");
  if (keysBox) {
    keysBox.checked = !keysOff();
    keysBox.addEventListener("change", () => {
      document.cookie = `tidegate_keys=off; path=/; max-age=${keysBox.checked ? 0 : 31536000}; samesite=lax`;
      toast(keysBox.checked ? "Letters alone open pages." : "Letters alone do nothing.");
    });
  }

  // -- keys ---------------------------------------------------------------------------------------------------
  const pages = Object.fromEntries($$("[data-key]").map((one) => [one.dataset.key, one.href]));
  let gone = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && palette) {
      event.preventDefault();
      if (palette.open) palette.close(); else openPalette();
      return;
    }
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s" && $("form[data-save]")) {
      event.preventDefault();
      $("form[data-save]").requestSubmit();
      return;
    }
    if (palette?.open) {
      const all = options(), at = all.findIndex((one) => one.getAttribute("aria-selected") === "true");
      if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); choose(at + (event.key === "ArrowDown" ? 1 : -1)); }
      if (event.key === "Enter" && all[at]) { event.preventDefault(); location.assign(all[at].dataset.href); }
      return;
    }
    if (event.target.matches?.("input:not([type=checkbox], [type=radio]),select,textarea") || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || keysOff()) return;
    if (event.key === "Escape" && !$("[popover]:popover-open")) { unpick(); return; }
    const link = $(`[data-key-page="${CSS.escape(event.key)}"]`);
    if (Date.now() - gone < 1200 && pages[event.key]) location.assign(pages[event.key]);
    else if (event.key === "/" && $("[data-slash]")) { event.preventDefault(); $("[data-slash]").focus(); }
    else if (event.key === "g") gone = Date.now();
    else if (event.key === "h") $("[data-hold]")?.click();
    else if (event.key === "x" || event.key === "X") pickRow(event.shiftKey);
    else if (event.key === "e" || event.key === "y") $(event.key === "e" ? "a.name" : "a.why", rowOf() || document.createElement("tr"))?.click();
    else if (event.key === "t") setTheme({ light: "dark", dark: "" }[document.documentElement.dataset.theme || ""] ?? "light");
    else if (event.key === "?") location.assign(`${base}/me#keys`);
    else if (event.key === "j" || event.key === "k") {
      const names = $$("main a.name"), at = names.indexOf(document.activeElement);
      names[Math.max(0, Math.min(names.length - 1, at + (event.key === "j" ? 1 : -1)))]?.focus();
    } else if (link) location.assign(link.href);
  });

  // -- boxes that select rows -----------------------------------------------------------------------------------
  const boxes = () => $$("tbody .box[data-row]");
  let lastPicked = null;
  const counted = () => {
    const number = boxes().filter((box) => box.checked).length;
    $$("[data-selected]").forEach((one) => { one.textContent = `${number} selected`; });
  };
  const pick = (box, on) => { box.checked = on; box.closest("tr").setAttribute("aria-selected", String(on)); };
  document.addEventListener("change", (event) => {
    const one = event.target;
    if ("all" in one.dataset) boxes().forEach((box) => pick(box, one.checked));
    else if ("row" in one.dataset) { pick(one, one.checked); lastPicked = one; }
    else return;
    counted();
  });
  const rowOf = () => document.activeElement?.closest?.("main tbody tr");
  const pickRow = (range) => {
    const all = boxes(), box = $("[data-row]", rowOf() || document.createElement("tr"));
    if (!box) return;
    const from = range ? all.indexOf(lastPicked) : -1, to = all.indexOf(box), on = from < 0 ? !box.checked : true;
    (from < 0 ? [box] : all.slice(Math.min(from, to), Math.max(from, to) + 1)).forEach((one) => pick(one, on));
    lastPicked = box;
    counted();
  };
  const unpick = () => { boxes().filter((box) => box.checked).forEach((box) => pick(box, false)); $$("[data-all]").forEach((one) => { one.checked = false; }); counted(); };

  // -- fields that the server checks when they are left -----------------------------------------------------------
  const tell = (field, text) => {
    const box = field.closest(".field"), id = `e-${field.id.slice(2)}`;
    if (!box) return;
    let line = document.getElementById(id);
    box.classList.toggle("wrong", Boolean(text));
    if (text) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
    if (!text) { line?.remove(); return; }
    if (!line) {
      line = Object.assign(document.createElement("p"), { className: "err", id });
      line.setAttribute("role", "alert");
      (field.closest(".with") || field).after(line);
      field.setAttribute("aria-describedby", `${id} ${field.getAttribute("aria-describedby") || ""}`.trim());
    }
    line.textContent = text;
  };
  const note = (field, text) => {
    const box = field.closest(".field");
    let line = $(".fine", box);
    if (!text) { line?.remove(); return; }
    if (!line) {
      line = Object.assign(document.createElement("p"), { className: "fine ok" });
      line.setAttribute("role", "status");
      field.after(line);
    }
    line.textContent = text;
  };
  document.addEventListener("focusout", async (event) => {
    const field = event.target;
    const where = field.dataset?.check;
    if (!where || !field.value || field.value === field.dataset.checked) return;
    field.dataset.checked = field.value;
    const sent = new URLSearchParams(new FormData(field.form));
    sent.set("_field", field.name);
    const answer = await fetch(where, { method: "POST", body: sent, headers: { "X-CSRF-Token": token, "HX-Request": "true" } });
    if (!answer.ok) return;
    const found = await answer.json();
    tell(field, found.error);
    note(field, found.note);
  });

  // -- storage tried out without leaving the form, presets of permissions, and what has changed --------------------
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-try]");
    if (!button) return;
    event.preventDefault();
    const line = $("[data-tried]", button.parentElement);
    line.className = "fine";
    line.textContent = "Trying...";
    button.disabled = true;
    const answer = await fetch(button.formAction, { method: "POST", body: new URLSearchParams(new FormData(button.form)), headers: { "HX-Request": "true" } });
    const found = answer.ok ? await answer.json() : { ok: false, text: "The server refused to try." };
    line.className = found.ok ? "fine ok" : "fine now";
    line.textContent = found.text;
    button.disabled = false;
  });
  document.addEventListener("change", (event) => {
    const select = event.target.closest?.("[data-preset]");
    if (!select || !select.value) return;
    const names = JSON.parse(select.dataset.preset)[select.value] || [], all = names.includes("*");
    const row = select.closest("tr");
    $$("input[type=checkbox]", row).forEach((box) => { box.checked = all || names.includes(box.value); });
    $$("select:not([data-preset])", row).forEach((one) => { one.value = all || names.includes(one.name.split("-")[1]) ? "both" : ""; });
    select.value = "";
  });
  const form = $("form[data-save]"), changes = $("[data-changes]");
  if (form && changes) {
    const read = () => { const found = new Map(); for (const [key, value] of new FormData(form)) found.set(key, [...(found.get(key) || []), value]); return found; };
    const before = read(), plain = changes.textContent;
    form.addEventListener("input", () => {
      const after = read();
      let count = 0;
      new Set([...before.keys(), ...after.keys()]).forEach((key) => { if (String(before.get(key)) !== String(after.get(key))) count += 1; });
      changes.textContent = count ? `${count} ${count === 1 ? "change" : "changes"}` : plain;
    });
  }
  $("[aria-invalid=true]")?.focus();

  // -- the session ends: told two minutes before; if it is only idle, it can be prolonged -------------------------
  // By the clock of the server: the one of the browser may be wrong.
  const idle = Number(body.dataset.idle || 0);
  if (idle) {
    const ends = Number(body.dataset.ends), ahead = Number(body.dataset.now) - Date.now();
    let until = idle, shown = null, over = false;
    const say = (text, button) => {
      shown?.remove();
      shown = document.createElement("div");
      shown.className = "toast";
      shown.append(Object.assign(document.createElement("div"), { textContent: text }), ...(button ? [button] : []));
      $(".toasts")?.append(shown);
    };
    const stay = async () => {
      const answer = await fetch(`${base}/me/stay`, { method: "POST", body: new URLSearchParams({ _token: token }), headers: { "HX-Request": "true" } });
      if (answer.ok) until = (await answer.json()).idle_until;
      shown?.remove();
      shown = null;
    };
    setInterval(() => {
      const left = Math.min(until, ends) - ahead - Date.now();
      if (over || left > 120000) return;
      if (left <= 0) {
        over = true;
        const again = Object.assign(document.createElement("a"), { className: "btn sm", href: `${base}/login`, target: "_blank", rel: "noopener", textContent: "Sign in again" });
        say("Your session has ended.", again);
      } else if (!shown && ends <= until) say("Your session ends in 2 minutes, and cannot go on. Save what you have typed.");
      else if (!shown) {
        const button = Object.assign(document.createElement("button"), { className: "btn sm", type: "button", textContent: "Stay signed in" });
        button.addEventListener("click", stay);
        say("Your session ends in 2 minutes.", button);
      }
    }, 5000);
  }

  window.tidegate = { $, $$, base, token, toast };
})();
