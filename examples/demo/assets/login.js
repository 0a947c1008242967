import { handle, say } from "./form.js";

const form = document.getElementById("form");

handle(form, {
  done: () => {
    form.elements.password.value = "";
    say("good", document.getElementById("done"));
  },
});
