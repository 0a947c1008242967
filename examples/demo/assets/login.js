import { handle, show } from "./form.js";

const form = document.getElementById("form");

handle(form, {
  done: () => {
    form.elements.password.value = "";
    show("good", document.getElementById("done"));
  },
});
