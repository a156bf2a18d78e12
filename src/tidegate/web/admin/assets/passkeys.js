// Passkeys: a form asks the server for a challenge, the browser for an answer, and is sent with it.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const raw = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  // What keeps this browser from having passkeys on this page; empty if nothing does.
  const obstacle = (domain) => {
    const host = location.hostname;
    if (!window.isSecureContext) return `Browsers have no passkeys on pages that come over plain HTTP (${location.origin}). Open this page over HTTPS.`;
    if (/^[0-9.]+$|^\[/.test(host)) return `Browsers have no passkeys for pages that were opened by an IP address (${host}). Open this page by its name.`;
    if (host !== domain && !host.endsWith(`.${domain}`)) return `This page was opened as ${host}, and passkeys are for ${domain}.`;
    return window.PublicKeyCredential ? "" : "This browser has no passkeys.";
  };

  const create = async (options) => {
    const made = await navigator.credentials.create({ publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: raw(options.excludeCredentials),
    } });
    const answer = made.response;
    return { id: made.id, rawId: text(made.rawId), type: made.type, response: {
      clientDataJSON: text(answer.clientDataJSON), attestationObject: text(answer.attestationObject), transports: answer.getTransports?.() || [],
    } };
  };
  const get = async (options, more = {}) => {
    const publicKey = { ...options, challenge: bytes(options.challenge) };
    if (options.allowCredentials) publicKey.allowCredentials = raw(options.allowCredentials);
    const made = await navigator.credentials.get({ publicKey, ...more });
    const answer = made.response;
    return { id: made.id, rawId: text(made.rawId), type: made.type, response: {
      clientDataJSON: text(answer.clientDataJSON), authenticatorData: text(answer.authenticatorData), signature: text(answer.signature),
      ...(answer.userHandle ? { userHandle: text(answer.userHandle) } : {}),
    } };
  };
  const told = {
    NotAllowedError: "Nothing was done: it took too long, or was cancelled.",
    InvalidStateError: "This authenticator has a passkey of yours already.",
    SecurityError: "The browser refuses passkeys for this address.",
    NotSupportedError: "The authenticator has none of the algorithms that are needed.",
  };

  // Passkeys among what the browser offers beside the field of the name. A challenge holds five minutes, and the
  // last one alone, whichever tab asked for it: a new one is asked for in time, and when the page comes into view.
  const RENEW_MS = 4 * 60 * 1000, RENEWALS = 30;
  const offering = (form) => {
    let pending = null, left = RENEWALS;
    const stop = () => { pending?.abort(); pending = null; };
    const begin = async () => {
      stop();
      if (document.visibilityState !== "visible" || left-- <= 0) return;
      const mine = pending = new AbortController(), timer = setTimeout(begin, RENEW_MS), { signal } = mine;
      try {
        if (!await window.PublicKeyCredential.isConditionalMediationAvailable()) return;
        const asked = await fetch(`${form.dataset.offer}/begin`, { method: "POST", body: new URLSearchParams(), signal });
        if (asked.status !== 200) return;
        const answer = await get(await asked.json(), { mediation: "conditional", signal });
        form.elements.credential.value = JSON.stringify(answer);
        form.action = form.dataset.offer;
        form.submit();
      } catch {
        // Nothing is offered then; name, password and the button work as ever.
      } finally {
        clearTimeout(timer);
      }
    };
    document.addEventListener("visibilitychange", () => { left = RENEWALS; begin(); });
    begin();
    return { begin, stop };
  };

  document.querySelectorAll("form[data-passkey]").forEach((form) => {
    const line = form.querySelector("[data-passkey-error]"), acts = form.querySelector("[data-passkey-acts]"), button = acts.querySelector("button");
    const tell = (message) => { line.textContent = message; line.hidden = !message; };
    const able = form.dataset.offer && !obstacle(form.dataset.rp) && window.PublicKeyCredential.isConditionalMediationAvailable;
    const offer = able ? offering(form) : null;
    acts.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const problem = obstacle(form.dataset.rp);
      tell(problem);
      if (problem) return;
      button.disabled = true;
      offer?.stop(); // a browser asks for one at a time
      try {
        const asked = await fetch(form.dataset.begin, { method: "POST", body: new URLSearchParams(new FormData(form)) });
        const options = await asked.json().catch(() => ({ error: "The session has ended. Load the page again." }));
        if (!asked.ok) { tell(options.error || "That did not work."); return; }
        form.elements.credential.value = JSON.stringify(await (form.dataset.passkey === "create" ? create(options) : get(options)));
        const password = form.elements.current_password;
        if (password) password.value = "";
        form.submit();
      } catch (error) {
        offer?.begin();
        tell(told[error.name] || `That did not work: ${error.message}`);
      } finally {
        button.disabled = false;
      }
    });
  });
})();
