// A passkey: ask the server what to sign, let the browser sign it, and send that with the form. Pages offer another
// way for browsers without this.
const part = document.querySelector("[data-passkey]");
const form = part.closest("form");
const start = part.querySelector("[data-passkey-start]");
const problem = part.querySelector("[data-passkey-problem]");
const NOT_NOW = "That did not work, or was stopped. Try it once more, or use another way.";

function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function read(options) {
  const known = (some = []) => some.map((one) => ({ ...one, id: bytes(one.id) }));
  const found = { ...options, challenge: bytes(options.challenge) };
  if (options.user) found.user = { ...options.user, id: bytes(options.user.id) };
  if (options.excludeCredentials) found.excludeCredentials = known(options.excludeCredentials);
  if (options.allowCredentials) found.allowCredentials = known(options.allowCredentials);
  return found;
}

function write(credential) {
  const response = { clientDataJSON: text(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = text(credential.response[name]);
  }
  if (credential.response.getTransports) response.transports = credential.response.getTransports();
  return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
}

function say(words) {
  problem.textContent = words;
  problem.classList.toggle("govuk-visually-hidden", words === "");
}

async function ask() {
  const body = new URLSearchParams({ form_token: form.elements.form_token.value });
  const answer = await fetch(part.dataset.url, { method: "POST", body, redirect: "manual" });
  const json = (answer.headers.get("Content-Type") ?? "").startsWith("application/json");
  // Signed out, or not fresh any more: the page itself says what to do.
  if (!json) return window.location.reload();
  const found = await answer.json();
  if (answer.ok) return found;
  say(found.problem);
}

async function go() {
  // What the form asks for besides, first: a key that was made for nothing would stay on the device.
  if (form.elements.name && form.elements.name.value.trim() === "") return form.requestSubmit();
  start.disabled = true;
  say("");
  try {
    const options = await ask();
    if (!options) return;
    const publicKey = read(options);
    const act = part.dataset.passkey === "create" ? "create" : "get";
    form.elements.passkey.value = write(await navigator.credentials[act]({ publicKey }));
    form.requestSubmit(form.querySelector("[data-passkey-submit]"));
  } catch {
    say(NOT_NOW);
  } finally {
    start.disabled = false;
  }
}

if (window.PublicKeyCredential) {
  part.hidden = false;
  for (const other of document.querySelectorAll("[data-passkey-with]")) other.hidden = false;
  for (const other of document.querySelectorAll("[data-passkey-without]")) other.hidden = true;
  start.addEventListener("click", go);
}
