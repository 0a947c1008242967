import { handle, say } from "./form.js";

handle(document.getElementById("form"), {
  done: () => say("good", document.getElementById("done")),
});
