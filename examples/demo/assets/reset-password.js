import { clear, handle, post, show, showErrors } from "./form.js";

const form = document.getElementById("form");
const paste = document.getElementById("paste");
const password = document.getElementById("password");
const showButton = document.getElementById("show");
const visibility = document.getElementById("visibility");
const template = (id) => document.getElementById(id);

// The token is stored in the state of this tab's history entry, so it survives a reload and the back button. The address
// bar, cookies, storage shared with other tabs and the URLs of requests do not contain it. A password is not stored: a
// reload empties its field.
let token = "";
// True after a confirmation without a known outcome: the password may have been changed.
let isUnknown = false;

/** Stores the token in the current history entry, or removes it if empty, and leaves only the path in the address bar. */
function store(newToken, newIsUnknown = false) {
  token = newToken;
  isUnknown = newIsUnknown;
  history.replaceState(token === "" ? null : { token, isUnknown }, "", location.pathname);
}

/** Moves the token from the URL into the history entry. If the URL has none, reads the stored token. */
function load() {
  // Links carry the token behind `#`, or behind `?` for users whose mail scanner removes fragments.
  const linked = [location.hash, location.search]
    .map((part) => new URLSearchParams(part.slice(1)).get("token"))
    .find((value) => value !== null) ?? null;
  if (linked !== null) {
    store(linked, isUnknown && linked === token);
  } else if (location.hash !== "") {
    // Another fragment, such as that of "Skip to main content", adds a history entry, which needs the token too.
    store(token || stored().token, isUnknown);
  } else {
    ({ token, isUnknown } = stored());
  }
}

function stored() {
  return { token: "", isUnknown: false, ...history.state };
}

/**
 * Finds the token in pasted text: a whole link with the token in its fragment, query or path, or the token alone. Mail
 * programs break long lines, so white space is ignored. The length of an HMAC-SHA256 signature shows where the token ends.
 */
function findToken(text) {
  return text.replace(/\s/g, "").match(/eyJ[\w-]*\.[\w-]+\.[\w-]{43}/)?.[0] ?? "";
}

/** Validates the token and shows the form that fits. Validation does not use the token up. */
async function validate() {
  form.hidden = true;
  paste.hidden = token !== "";
  if (token === "") {
    show("", template("no-token"));
    return;
  }
  show("", "Checking the link…");
  const validated = token;
  const { status, body } = await post(form.dataset.validate, { token });
  if (validated !== token) {
    return; // The user has opened another link in the meantime.
  }
  if (isDead(body)) {
    showDeadLink();
  } else {
    // Any other error may be gone when the user submits the form.
    clear(form);
    form.hidden = false;
    if (status !== 200) {
      showErrors(form, body);
    }
    password.focus();
  }
}

/** Returns true if the server will never accept this token again. */
function isDead(body) {
  return body.code === "invalid_token" || body.token !== undefined;
}

function showDeadLink() {
  // A token that the user's own lost confirmation has used up gets the same response as any other used token.
  const text = template(isUnknown ? "maybe-changed" : "dead");
  store("");
  form.hidden = true;
  show("bad", text);
  document.getElementById("message").focus();
}

function setPasswordVisible(visible) {
  password.type = visible ? "text" : "password";
  showButton.textContent = visible ? "Hide" : "Show";
  showButton.setAttribute("aria-label", visible ? "Hide password" : "Show password");
  visibility.textContent = visible ? "Your password is visible." : "Your password is hidden.";
}

showButton.addEventListener("click", () => setPasswordVisible(password.type === "password"));
// Browsers remember the content of plain text fields, so the field is a password field again when it is submitted.
form.addEventListener("submit", () => setPasswordVisible(false), { capture: true });

handle(form, {
  extra: () => ({ token }),
  done: () => {
    store("");
    form.reset();
    form.hidden = true;
    show("good", template("done"));
  },
  // An error leaves the typed password in its field.
  failed: (form, body, status) => {
    if (isDead(body)) {
      showDeadLink();
      return;
    }
    if (status === 0 || status >= 500) {
      store(token, true);
    }
    showErrors(form, body);
    if (status === 0) {
      show("bad", template("lost"));
    }
  },
});

paste.addEventListener("submit", (event) => {
  event.preventDefault();
  const found = findToken(paste.elements.link.value);
  if (found === "") {
    clear(paste);
    showErrors(paste, { link: ["This is not the link from the email. Copy the whole link and paste it here."] });
    return;
  }
  paste.reset();
  store(found);
  validate();
});

function start() {
  load();
  validate();
}

/** Validates again if the history entry or the fragment has brought another token. */
function onNavigation() {
  const before = token;
  load();
  if (token !== before) {
    validate();
  }
}

addEventListener("hashchange", onNavigation);
addEventListener("popstate", onNavigation);
// The back/forward cache restores the variables of the page, but the token may have been used in the meantime.
addEventListener("pageshow", (event) => event.persisted && start());

start();
