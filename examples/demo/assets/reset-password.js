import { handle, post, refuse, say } from "./form.js";

const form = document.getElementById("form");
const password = document.getElementById("password");
const show = document.getElementById("show");
const shown = document.getElementById("shown");
const template = (id) => document.getElementById(id);

let token = "";

/** Takes the token out of the address bar: it should not stay in the history, nor be seen over a shoulder. */
function take() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash !== "") {
    history.replaceState(null, "", location.pathname);
  }
  return found ?? "";
}

/** Begins with the token in the address, if there is one. A look at whether it is good does not use it up. */
async function begin() {
  token = take();
  form.hidden = true;
  if (token === "") {
    say("", template("no-token"));
    return;
  }
  say("", "One moment: the link is being checked.");
  const asked = token;
  const { status, answer } = await post(form.dataset.validate, { token });
  if (asked !== token) {
    return; // another link was opened meanwhile
  }
  if (isDead(answer)) {
    end(answer);
  } else {
    // Whatever else is wrong may be over by the time the form is sent.
    say("");
    form.hidden = false;
    if (status !== 200) {
      refuse(form, answer);
    }
    password.focus();
  }
}

/** Whether the server says that nothing can be done with this token any more. */
function isDead(answer) {
  return answer.code === "invalid_token" || answer.token !== undefined;
}

function end(answer) {
  token = "";
  form.hidden = true;
  say("bad", [answer.detail, answer.token].flat().filter(Boolean).join(" "), template("again"));
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
    token = "";
    form.reset();
    form.hidden = true;
    say("good", template("done"));
  },
  refused: (form, answer) => (isDead(answer) ? end(answer) : refuse(form, answer)),
});

addEventListener("hashchange", begin);
begin();
