"use strict";
for (const button of document.querySelectorAll("button[data-copies]")) {
  const text = document.getElementById(button.dataset.copies).textContent;
  const told = button.parentElement.querySelector("[role=status]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      told.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copies));
      told.textContent = "selected: copy it by the keyboard";
    }
  });
}
