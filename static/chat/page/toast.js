/** What was just done, in words, with a button that takes it back. */

import { UNDO } from "./sidebar-words.js";

/** Shows in `node` (a text and a button) whatever `undo` has. */
export function toast(node, undo) {
  const [words, button] = node.children;
  button.textContent = UNDO;
  button.addEventListener("click", () => undo.undo());
  undo.addEventListener("change", () => {
    const { pending } = undo;
    if (pending !== null) words.textContent = pending.words;
    button.hidden = pending?.undo === undefined;
    node.hidden = pending === null;
  });
}
