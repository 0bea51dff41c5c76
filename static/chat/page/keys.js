/** The keys that work everywhere on the page. Those of the boxes to write in are theirs (composer.js, editor.js). */

/** `actions`: escape(), search(), help(). */
export function listen({ escape, search, help }) {
  document.addEventListener("keydown", (event) => {
    if (composes(event) || event.defaultPrevented) return;
    if (document.querySelector("dialog[open], :popover-open")) return;
    const act = (action) => {
      event.preventDefault();
      action();
    };
    const command = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") escape();
    else if (event.key.toLowerCase() === "k" && command && !event.shiftKey && !event.altKey) act(search);
    else if (event.key === "?" && !command && !isWritten(event.target)) act(help);
  });
}

/** Whether the key belongs to a word that is being composed, as in Japanese. Safari says so of the Enter that ends one by
 * its number only. */
export const composes = (event) => event.isComposing || event.keyCode === 229;

const isWritten = (node) => node.matches("input, textarea, select") || node.isContentEditable;
