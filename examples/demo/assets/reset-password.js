import { clear, handle, post, refuse, say } from "./form.js";

const form = document.getElementById("form");
const paste = document.getElementById("paste");
const password = document.getElementById("password");
const show = document.getElementById("show");
const shown = document.getElementById("shown");
const template = (id) => document.getElementById(id);

let token = "";
// Whether a confirmation was sent whose outcome is not known: the password may have been changed already.
let unknown = false;

// The token is kept in the state of this tab's history entry. It survives a reload and "back" there. The address bar,
// cookies, storage shared with other tabs and the URLs of requests do not contain it. A typed password is stored nowhere:
// a reload empties its field, and an error answer does not.

/** Stores the token in the current history entry, or removes it, and leaves only the path in the address bar. */
function keep(kept, isUnknown = false) {
  token = kept;
  unknown = isUnknown;
  history.replaceState(kept === "" ? null : { token, unknown }, "", location.pathname);
}

/** Moves the token from the link into the history entry. Without one there, takes the token that is stored. */
function take() {
  // Behind `#`, or behind `?` where mail scanners strip fragments.
  const linked = [location.hash, location.search]
    .map((part) => new URLSearchParams(part.slice(1)).get("token"))
    .find((part) => part !== null) ?? null;
  if (linked !== null) {
    keep(linked, unknown && linked === token);
  } else if (location.hash !== "") {
    // Another fragment, such as that of "Skip to the content", adds a history entry. The token must be in that one too.
    keep(token || stored().token, unknown);
  } else {
    ({ token, unknown } = stored());
  }
}

function stored() {
  return { token: "", unknown: false, ...history.state };
}

/**
 * Finds the token in pasted text: a whole link, with the token in its fragment, query or path, or the token alone. Mail
 * programs break long lines, so white space is ignored. The length of an HMAC-SHA256 signature shows where a token ends.
 */
function find(text) {
  return text.replace(/\s/g, "").match(/eyJ[\w-]*\.[\w-]+\.[\w-]{43}/)?.[0] ?? "";
}

/** Shows the form if there is a token that may be valid. Validation does not use the token up. */
async function check() {
  form.hidden = true;
  paste.hidden = token !== "";
  if (token === "") {
    say("", template("no-token"));
    return;
  }
  say("", "Checking the link. One moment, please.");
  const asked = token;
  const { status, answer } = await post(form.dataset.validate, { token });
  if (asked !== token) {
    return; // Another link was opened meanwhile.
  }
  if (isDead(answer)) {
    end(answer);
  } else {
    // Any other error may be gone when the form is sent.
    say("");
    form.hidden = false;
    if (status !== 200) {
      refuse(form, answer);
    }
    password.focus();
  }
}

/** Whether the server rejects this token for good. */
function isDead(answer) {
  return answer.code === "invalid_token" || answer.token !== undefined;
}

function end(answer) {
  const text = [answer.detail, answer.token].flat().filter(Boolean).join(" ");
  // The server says the same of a token that the user's own lost confirmation has used up.
  const cure = template(unknown ? "maybe-changed" : "again");
  keep("");
  form.hidden = true;
  say("bad", text, cure);
  document.getElementById("message").focus();
}

function reveal(visible) {
  password.type = visible ? "text" : "password";
  show.textContent = visible ? "Hide" : "Show";
  show.setAttribute("aria-label", visible ? "Hide password" : "Show password");
  shown.textContent = visible ? "Your password is visible." : "Your password is hidden.";
}

show.addEventListener("click", () => reveal(password.type === "password"));
// Hidden again before it is sent: browsers remember what was typed into a plain text field.
form.addEventListener("submit", () => reveal(false), { capture: true });

handle(form, {
  extra: () => ({ token }),
  done: () => {
    keep("");
    form.reset();
    form.hidden = true;
    say("good", template("done"));
  },
  // A password that was typed stays in its field: only a success clears it.
  refused: (form, answer, status) => {
    if (isDead(answer)) {
      end(answer);
      return;
    }
    if (status === 0 || status >= 500) {
      keep(token, true);
    }
    refuse(form, answer);
    if (status === 0) {
      say("bad", template("lost"));
    }
  },
});

paste.addEventListener("submit", (event) => {
  event.preventDefault();
  const found = find(paste.elements.link.value);
  if (found === "") {
    clear(paste);
    refuse(paste, { link: ["This is not the link from the email. Copy the whole link and paste it here."] });
    return;
  }
  paste.reset();
  keep(found);
  check();
});

/** Another history entry is shown, or the fragment changed: checks the token there, unless it is the same. */
function look() {
  const before = token;
  take();
  if (token !== before) {
    check();
  }
}

addEventListener("hashchange", look);
addEventListener("popstate", look);
// The back/forward cache restores the variables of the page, but the token may have been used in the meantime.
addEventListener("pageshow", (event) => event.persisted && begin());

function begin() {
  take();
  check();
}

begin();
