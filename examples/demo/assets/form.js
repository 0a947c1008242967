// Sends a form as JSON and shows the server's errors: those of a field below the field, others above the form.

const message = document.getElementById("message");

/** Shows texts, <template> elements or document fragments above the form. `kind` is "good", "bad" or "". */
export function show(kind, ...contents) {
  message.className = `message ${kind}`;
  message.replaceChildren(...contents.map(toNode));
}

function toNode(content) {
  if (content instanceof HTMLTemplateElement) {
    return content.content.cloneNode(true);
  }
  if (content instanceof Node) {
    return content;
  }
  const paragraph = document.createElement("p");
  paragraph.textContent = content;
  return paragraph;
}

/** Posts JSON. Resolves to the status and the parsed body; without a response, to status 0 and a text to show. */
export async function post(url, body) {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Accept": "application/json", "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    return { status: response.status, body: await response.json() };
  } catch {
    return { status: 0, body: { detail: "The server did not respond. Try again in a moment." } };
  }
}

/** Shows the errors and moves the focus to the first field that has one. */
export function showErrors(form, body) {
  const rest = { ...body };
  let first;
  for (const input of form.querySelectorAll("input[name]")) {
    const errors = toTexts(rest[input.name]);
    delete rest[input.name];
    if (errors.length > 0) {
      markInvalid(input, errors);
      first ??= input;
    }
  }
  // The code is for programs. Errors of fields that this form does not have are shown above it.
  delete rest.code;
  const texts = Object.values(rest).flatMap(toTexts);
  if (texts.length > 0) {
    show("bad", ...texts);
  }
  (first ?? message).focus();
}

function toTexts(value) {
  return (Array.isArray(value) ? value : [value]).filter((text) => typeof text === "string");
}

function markInvalid(input, errors) {
  input.setAttribute("aria-invalid", "true");
  const items = errors.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  document.getElementById(`${input.id}-errors`).replaceChildren(...items);
}

/** Removes the message and all errors. */
export function clear(form) {
  message.className = "message";
  message.replaceChildren();
  for (const input of form.querySelectorAll("input[name]")) {
    input.removeAttribute("aria-invalid");
    document.getElementById(`${input.id}-errors`).replaceChildren();
  }
}

/**
 * Sends the form from the script.
 *
 * `extra` returns members of the body that have no field. `done` is called on success, `failed` on any other response; its
 * status is 0 if there was no response.
 */
export function handle(form, { extra = () => ({}), done, failed = showErrors }) {
  let busy = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // A double click sends once. The button is not disabled, because a disabled button loses the focus.
    if (busy) {
      return;
    }
    busy = true;
    form.setAttribute("aria-busy", "true");
    clear(form);
    const { status, body } = await post(form.action, { ...Object.fromEntries(new FormData(form)), ...extra() });
    busy = false;
    form.removeAttribute("aria-busy");
    if (status === 200) {
      done();
      message.focus();
    } else {
      failed(form, body, status);
    }
  });
}
