/** The keys that work everywhere on the page. Those of the boxes to write in are theirs (composer.js, editor.js). */

/** `actions`: escape(), search(), help(). `undo` is what undo.js has. */
export function listen({ escape, search, help, undo }) {
  document.addEventListener("keydown", (event) => {
    if (composes(event) || event.defaultPrevented) return;
    if (document.querySelector("dialog[open], :popover-open")) return;
    const act = (action) => {
      event.preventDefault();
      action();
    };
    const command = event.ctrlKey || event.metaKey;
    const is = (letter) => event.key.toLowerCase() === letter && command && !event.shiftKey && !event.altKey;
    if (event.key === "Escape") escape();
    else if (is("k")) act(search);
    else if (is("z") && undo.possible && !isHeld(event.target)) act(() => undo.undo());
    else if (event.key === "?" && !command && !isWritten(event.target)) act(help);
  });
}

/** Whether the key belongs to a word that is being composed, as in Japanese. Safari says so of the Enter that ends one by
 * its number only. */
export const composes = (event) => event.isComposing || event.keyCode === 229;

/** Whether something is written in it, which the browser undoes by itself. */
const isHeld = (node) => node.matches("input, textarea") && node.value !== "";

const isWritten = (node) => node.matches("input, textarea, select") || node.isContentEditable;
