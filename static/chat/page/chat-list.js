/** A list of chats as rows: the sidebar has one of all, and one of those that a search has found. */

import { arrange } from "./arrange.js";
import { composes } from "./keys.js";
import { NAME, STATES, UNNAMED, options, pieces } from "./sidebar-words.js";

export class ChatList {
  #list;
  #template;
  #actions;
  #rows = new Map();
  #renaming = false;

  /** `list` may have rows already, from the server. `actions`: href(id), onmenu(id, button), onheld(), when it can be drawn
   * again after it was held still. */
  constructor(list, template, actions) {
    this.#list = list;
    this.#template = template;
    this.#actions = actions;
    for (const node of list.children) this.#adopt(node);
  }

  /** Show these items in this order. `query` is marked in their excerpts. Who has the keyboard in the list keeps it. */
  draw(items, { current, visible, query = "" }) {
    if (this.#renaming) return; // it holds still under who writes in it
    const list = this.#list;
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const at = focused === null ? -1 : [...list.children].indexOf(focused.closest(".item"));
    const rows = items.map((item) => {
      const row = this.#rows.get(item.id) ?? this.#make(item.id);
      row.show(item, { current: item.id === current, visible, query });
      return row;
    });
    arrange(list, rows.map((row) => row.node));
    this.#rows = new Map(rows.map((row) => [row.node.dataset.id, row]));
    if (focused === null || focused === document.activeElement) return;
    if (focused.isConnected) focused.focus({ preventScroll: true });
    else list.children[Math.min(at, list.children.length - 1)]?.querySelector("a").focus();
  }

  /** Write another name in the row's place: the new one, or null. Does nothing for a thread without a row. */
  async rename(id, title) {
    const row = this.#rows.get(id);
    if (row === undefined || this.#renaming) return null;
    this.#renaming = true;
    const name = await row.rename(title);
    this.#renaming = false;
    this.#actions.onheld();
    return name;
  }

  #make(id) {
    const node = this.#template.content.firstElementChild.cloneNode(true);
    node.dataset.id = id;
    node.querySelector("a").href = this.#actions.href(id);
    return this.#adopt(node);
  }

  #adopt(node) {
    const row = new Row(node, this.#actions);
    this.#rows.set(node.dataset.id, row);
    return row;
  }
}

class Row {
  #link;
  #title;
  #mark;
  #more;
  #excerpt = null;
  #shown = {};

  constructor(node, { menu, onmenu }) {
    this.node = node;
    [this.#link, this.#title, this.#mark, this.#more] = ["a", ".title", ".mark", ".more"].map((name) =>
      node.querySelector(name),
    );
    this.#more.hidden = false;
    this.#more.popoverTargetElement = menu; // a press on it is none outside of the menu, which would close it
    this.#more.addEventListener("click", (event) => {
      event.preventDefault();
      onmenu(node.dataset.id, this.#more);
    });
  }

  show(item, { current, visible, query }) {
    const unread = item.unread && !(current && visible);
    const shown = this.#shown;
    if (shown.item === item && shown.current === current && shown.unread === unread) return;
    this.#shown = { item, current, unread };
    const title = item.title || UNNAMED;
    if (this.#title.textContent !== title) this.#title.textContent = title;
    this.#link.title = item.title;
    this.#more.setAttribute("aria-label", options(title));
    if (item.status === "idle") delete this.node.dataset.status;
    else this.node.dataset.status = item.status;
    this.node.toggleAttribute("data-unread", unread);
    this.node.toggleAttribute("data-pinned", item.pinned);
    const state = STATES[item.status] ?? (unread ? STATES.unread : "");
    this.#mark.setAttribute("aria-label", state);
    this.#mark.setAttribute("role", state ? "img" : "presentation");
    if (current) this.#link.setAttribute("aria-current", "page");
    else this.#link.removeAttribute("aria-current");
    this.#quote(item.excerpt, query);
  }

  #quote(excerpt, query) {
    if (!excerpt) {
      this.#excerpt?.remove();
      this.#excerpt = null;
      return;
    }
    if (this.#excerpt === null) {
      this.#excerpt = document.createElement("span");
      this.#excerpt.className = "excerpt";
      this.#excerpt.dir = "auto";
      this.#link.append(this.#excerpt);
    }
    const marked = pieces(excerpt, query).map(([text, matches]) => {
      if (!matches) return text;
      const mark = document.createElement("mark");
      mark.textContent = text;
      return mark;
    });
    this.#excerpt.replaceChildren(...marked);
  }

  /** Enter and leaving the field keep what was written, Escape does not. */
  rename(title) {
    return new Promise((resolve) => {
      const input = document.createElement("input");
      input.value = title;
      input.maxLength = 200;
      input.dir = "auto";
      input.setAttribute("aria-label", NAME);
      let done = false;
      const finish = (keep) => {
        if (done) return;
        done = true;
        const held = document.activeElement === input;
        input.replaceWith(this.#link);
        this.#more.hidden = false;
        if (held) this.#link.focus();
        const name = input.value.trim();
        resolve(keep && name && name !== title ? name : null);
      };
      input.addEventListener("keydown", (event) => {
        if ((event.key !== "Enter" && event.key !== "Escape") || composes(event)) return;
        event.preventDefault();
        event.stopPropagation();
        finish(event.key === "Enter");
      });
      input.addEventListener("blur", () => finish(true));
      this.#more.hidden = true;
      this.#link.replaceWith(input);
      input.select();
      input.focus();
    });
  }
}

/** Arrow keys go from chat to chat, as in any list. */
export function moveByArrows(region) {
  region.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const item = event.target.closest(".item");
    if (item === null || event.target.matches("input")) return;
    const next = event.key === "ArrowDown" ? item.nextElementSibling : item.previousElementSibling;
    event.preventDefault();
    next?.querySelector("a").focus();
  });
}
