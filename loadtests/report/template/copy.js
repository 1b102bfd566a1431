/* A button that copies the command of the run; without a script there is none, and the command can be selected. */
(() => {
  "use strict";
  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  document.getElementById("copy").addEventListener("click", () => {
    const command = document.getElementById("command");
    /* Some browsers lend no clipboard to a page opened from a file: select the text instead. */
    const copied = navigator.clipboard ? navigator.clipboard.writeText(command.textContent) : Promise.reject(new Error("no clipboard"));
    copied.then(
      () => { document.getElementById("copied").textContent = "Copied."; },
      () => { getSelection().selectAllChildren(command); },
    );
  });
})();
