/** What was just done, in words, with a button that takes it back. */

import { UNDO } from "./sidebar-words.js";

/** Shows in `node` (a text and a button) whatever `undo` has. Who is at it is not hurried. */
export function toast(node, undo) {
  const [words, button] = node.children;
  button.textContent = UNDO;
  button.addEventListener("click", () => undo.undo());
  for (const come of ["pointerenter", "focusin"]) node.addEventListener(come, () => undo.hold(true));
  for (const go of ["pointerleave", "focusout"]) node.addEventListener(go, () => undo.hold(false));
  undo.addEventListener("change", () => {
    const { pending } = undo;
    if (pending !== null) words.textContent = pending.words;
    button.hidden = !undo.possible;
    node.hidden = pending === null;
  });
}
