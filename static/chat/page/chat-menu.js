/** The menu of one chat. */

import { archiveWords, pinWords } from "./sidebar-words.js";

export class ChatMenu {
  #menu;
  #id = null;
  #button = null;

  /** `onchoose(what, id)`: "pin", "rename", "archive" or "delete" was chosen. */
  constructor(menu, onchoose) {
    this.#menu = menu;
    menu.addEventListener("click", (event) => {
      const what = event.target.closest("[data-do]")?.dataset.do;
      if (what === undefined) return;
      menu.hidePopover(); // which gives the focus back to the row
      onchoose(what, this.#id);
    });
    menu.addEventListener("keydown", (event) => this.#move(event));
    menu.addEventListener("toggle", (event) => {
      this.#button?.setAttribute("aria-expanded", String(event.newState === "open"));
    });
  }

  /** Open it below the button of an item's row, or close it if it is open there. */
  toggle(item, button) {
    const menu = this.#menu;
    const isThere = menu.matches(":popover-open") && button === this.#button;
    menu.hidePopover();
    if (isThere) return;
    [this.#id, this.#button] = [item.id, button];
    menu.querySelector('[data-do="pin"]').textContent = pinWords(item.pinned);
    menu.querySelector('[data-do="archive"]').textContent = archiveWords(item.archived);
    menu.showPopover();
    const at = button.getBoundingClientRect();
    menu.style.top = `${Math.max(8, Math.min(at.bottom + 4, innerHeight - menu.offsetHeight - 8))}px`;
    menu.style.left = `${Math.max(8, Math.min(at.left, innerWidth - menu.offsetWidth - 8))}px`;
    menu.firstElementChild.focus();
  }

  #move(event) {
    const choices = [...this.#menu.children];
    const at = choices.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Tab") this.#menu.hidePopover();
    if (to === undefined) return;
    event.preventDefault();
    choices.at(to % choices.length).focus();
  }
}
