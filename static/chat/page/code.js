/** The button at each piece of code that copies it. */

import { COPYING } from "./words.js";

/** Put a button to each piece of code in here that has none. Clicks are handled where `data-do` is looked for. */
export function addButtons(node) {
  for (const block of node.querySelectorAll(".code")) {
    if (block.querySelector("button") !== null) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.do = "copycode";
    button.textContent = COPYING.copy;
    block.prepend(button);
  }
}

/** The text of the piece of code that a button stands at. */
export function codeOf(button) {
  return button.closest(".code").querySelector("code").textContent;
}
