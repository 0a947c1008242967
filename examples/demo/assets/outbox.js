// Shows new mail when it comes: looks every second or so, and loads the page again.

const mails = document.getElementById("mails");
const message = document.getElementById("message");

/** Whether somebody is busy with what is shown: then he is told, and not interrupted. */
function isReading() {
  return mails.contains(document.activeElement) || mails.querySelector("details[open]") !== null;
}

async function look() {
  if (!document.hidden) {
    let newest;
    try {
      ({ newest } = await (await fetch("/outbox/newest", { cache: "no-store", credentials: "omit" })).json());
    } catch {
      return; // The server is gone, and so are the mails it had in memory.
    }
    if (String(newest) !== mails.dataset.newest) {
      if (!isReading()) {
        location.reload();
      } else if (message.childElementCount === 0) {
        const link = document.createElement("a");
        link.href = "/outbox";
        link.textContent = "Show it";
        message.replaceChildren("There is new mail. ", link);
      }
    }
  }
  setTimeout(look, 1000);
}

setTimeout(look, 1000);
