// Sends a form as JSON and shows what the server says: errors of a field under the field, the rest above the form.

const message = document.getElementById("message");

/** Shows a text, or a copy of a <template>, above the form. */
export function say(kind, ...contents) {
  message.className = `message ${kind}`;
  message.replaceChildren(...contents.map(content));
}

function content(what) {
  if (what instanceof HTMLTemplateElement) {
    return what.content.cloneNode(true);
  }
  const paragraph = document.createElement("p");
  paragraph.textContent = what;
  return paragraph;
}

/** Posts JSON; gives the status and the answer, or a text to show if there is none. */
export async function post(address, body) {
  try {
    const response = await fetch(address, {
      method: "POST",
      headers: { "Accept": "application/json", "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    return { status: response.status, answer: await response.json() };
  } catch {
    return { status: 0, answer: { detail: "The server does not answer. Try again in a moment." } };
  }
}

/** Shows what is wrong, and puts the focus where it can be mended. */
export function refuse(form, answer) {
  const rest = { ...answer };
  let first;
  for (const input of form.querySelectorAll("input[name]")) {
    const texts = list(rest[input.name]);
    delete rest[input.name];
    if (texts.length > 0) {
      mark(input, texts);
      first ??= input;
    }
  }
  // What has no field of its own here. The code is for programs.
  delete rest.code;
  const texts = Object.values(rest).flatMap(list);
  if (texts.length > 0) {
    say("bad", ...texts);
  }
  (first ?? message).focus();
}

function list(texts) {
  return (Array.isArray(texts) ? texts : [texts]).filter((text) => typeof text === "string");
}

function mark(input, texts) {
  input.setAttribute("aria-invalid", "true");
  const items = texts.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  document.getElementById(`${input.id}-errors`).replaceChildren(...items);
}

/** Removes what was shown. */
export function clear(form) {
  message.className = "message";
  message.replaceChildren();
  for (const input of form.querySelectorAll("input[name]")) {
    input.removeAttribute("aria-invalid");
    document.getElementById(`${input.id}-errors`).replaceChildren();
  }
}

/**
 * Lets the script send the form. `extra` gives what belongs to the body and has no field, `done` is called on success,
 * and `refused` on anything else; the status is 0 if no answer came.
 */
export function handle(form, { extra = () => ({}), done, refused = refuse }) {
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // The button stays enabled: a disabled one would lose the focus.
    if (busy) {
      return;
    }
    busy = true;
    form.setAttribute("aria-busy", "true");
    clear(form);
    const { status, answer } = await post(form.action, { ...Object.fromEntries(new FormData(form)), ...extra() });
    busy = false;
    form.removeAttribute("aria-busy");
    if (status === 200) {
      done();
      message.focus();
    } else {
      refused(form, answer, status);
    }
  });
}
