import { handle, show } from "./form.js";

const form = document.getElementById("form");

handle(form, {
  done: () => {
    const text = document.getElementById("done").content.cloneNode(true);
    text.querySelector(".address").textContent = form.elements.email.value.trim();
    document.title = document.title.replace("Forgot your password?", "Check your email");
    document.getElementById("heading").textContent = "Check your email";
    document.getElementById("lead").hidden = true;
    document.getElementById("retry").hidden = false;
    form.hidden = true;
    show("good", text);
  },
});
