// Polls for new mail every second and reloads the page when some arrives.

const POLL_INTERVAL_MS = 1000;
const mails = document.getElementById("mails");
const message = document.getElementById("message");

/** Returns true while the user works with a mail. The page then offers to reload instead of reloading. */
function isReading() {
  return mails.contains(document.activeElement) || mails.querySelector("details[open]") !== null;
}

async function poll() {
  if (!document.hidden) {
    let newest;
    try {
      ({ newest } = await (await fetch("/outbox/newest", { cache: "no-store", credentials: "omit" })).json());
    } catch {
      return; // The server has stopped, and its mails were in memory.
    }
    if (String(newest) !== mails.dataset.newest) {
      if (!isReading()) {
        location.reload();
      } else if (message.childElementCount === 0) {
        const link = document.createElement("a");
        link.href = "/outbox";
        link.textContent = "Show it";
        message.replaceChildren("New email has arrived. ", link);
      }
    }
  }
  setTimeout(poll, POLL_INTERVAL_MS);
}

setTimeout(poll, POLL_INTERVAL_MS);
