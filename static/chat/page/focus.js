/** Keeps the keyboard on the page: what has it may be hidden, often by being pressed. */

/** Calls `elsewhere(node)` when what has the keyboard has just been hidden, to give the keyboard to something else. */
export function keepFocus(elsewhere) {
  let held = document.activeElement;
  addEventListener("focusin", ({ target }) => (held = target));
  // Some browsers take the keyboard away from what is hidden as soon as they notice, others when they draw.
  addEventListener("focusout", ({ target }) => target.checkVisibility() && (held = null));
  const watch = new MutationObserver((changes) => {
    if (![held, document.body].includes(document.activeElement)) return;
    if (changes.some(({ target }) => target.hidden && target.contains(held))) elsewhere(held);
  });
  watch.observe(document.body, { attributeFilter: ["hidden"], subtree: true });
}
