/** The sidebar: the list of chats, live; the archived ones; search; and what can be done with a chat. */

import { ChatList, moveByArrows } from "./chat-list.js";
import { ChatMenu } from "./chat-menu.js";
import { composes } from "./keys.js";
import { Search } from "./search.js";
import { NOTHING_ARCHIVED, SHOW_ARCHIVED, SHOW_CHATS, UNNAMED, archived, deleted, kept } from "./sidebar-words.js";
import { Undo, goneOn } from "./undo.js";

/** Where it lies over the chat (sidebar.css). */
const narrow = matchMedia("(max-width: 47.99rem)");

export class Sidebar {
  #client;
  #nodes;
  #actions;
  #chats;
  #found;
  #current = null;
  #archived = false;
  #bringing = false;
  #due = false;
  #near;
  /** The query whose first chat is to be opened as soon as it is found. */
  #wanted = "";

  /**
   * `nodes`: sidebar, opener, closer, covered (all that it lies over), items, older, which, archived, list, results, found,
   * template, menu, and those of Search.
   * `actions`: href(id), update(id, fields), remove(id), open(id): show a chat, or (null) a new one.
   */
  constructor(client, nodes, actions) {
    this.#client = client;
    this.#nodes = nodes;
    this.#actions = actions;
    const of = { href: actions.href, menu: nodes.menu, onmenu: (id, button) => menu.toggle(this.item(id), button), onheld: () => this.draw() };
    this.#chats = new ChatList(nodes.items, nodes.template, of);
    this.#found = new ChatList(nodes.found, nodes.template, of);
    const menu = new ChatMenu(nodes.menu, (what, id) => this.#chosen(what, id));
    this.search = new Search(client, nodes);
    this.undo = new Undo(({ thread }) => actions.remove(thread));

    client.inbox.addEventListener("rows", () => this.#look());
    client.outbox.addEventListener("change", () => this.#soon());
    this.search.addEventListener("change", () => {
      this.#openFirst(this.#wanted);
      if (this.search.active) this.#soon();
      else this.draw();
    });
    this.undo.addEventListener("change", () => this.#soon());
    nodes.field.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      if (event.key === "ArrowDown") nodes.found.querySelector("a")?.focus();
      else if (event.key === "Enter") this.#openFirst(this.search.query);
      else return;
      event.preventDefault();
    });
    nodes.archived.addEventListener("click", () => this.show(!this.#archived));
    nodes.older.addEventListener("click", () => this.#bring());
    // Of several entries that a slow page gets at once, the last one is true.
    this.#near = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && this.#bring(), {
      root: nodes.list,
      rootMargin: "0px 0px 600px 0px",
    });
    client.addEventListener("welcome", () => this.#lookForMore());
    narrow.addEventListener("change", () => narrow.matches || this.open(false));
    this.#lookForMore();
    moveByArrows(nodes.list);
  }

  /** The thread that is shown (or null). */
  set current(thread) {
    this.#current = thread;
    if (this.undo.deletes(thread)) this.undo.undo();
    this.draw();
  }

  /** On a phone it lies over the chat. */
  open(open) {
    const { sidebar, opener, closer, covered } = this.#nodes;
    const inside = sidebar.contains(document.activeElement);
    const opens = open && !sidebar.hasAttribute("data-open");
    sidebar.toggleAttribute("data-open", open);
    for (const node of covered) node.inert = open;
    if (opens) closer.focus();
    else if (!open && inside) opener.focus();
  }

  /** Be ready to search. */
  find() {
    if (narrow.matches) this.open(true);
    this.search.begin();
  }

  /** The item of a thread as it is shown, or undefined. */
  item(thread) {
    return this.#client.inbox.item(thread, this.#commands) ?? this.search.items.find((item) => item.id === thread);
  }

  draw() {
    this.#due = false;
    const { inbox } = this.#client;
    const { results, items, older, which } = this.#nodes;
    const commands = this.#commands;
    const shown = { current: this.#current, visible: document.visibilityState === "visible" };
    const list = inbox.list(commands, this.#archived);
    this.#chats.draw(list, shown);
    const { active, query } = this.search;
    const gone = new Set(commands.filter(({ type }) => type === "delete").map(({ thread }) => thread));
    const found = this.search.items.filter(({ id }) => !gone.has(id) && !inbox.removed(id));
    this.#found.draw(found.map((item) => this.#asItIsNow(item, commands)), { ...shown, query });
    results.hidden = !active;
    items.hidden = active;
    older.hidden = active || !inbox.hasOlder(this.#archived);
    const nothing = list.length === 0 && older.hidden;
    const words = active || !this.#archived ? "" : nothing ? NOTHING_ARCHIVED : SHOW_ARCHIVED;
    if (which.textContent !== words) which.textContent = words;
  }

  get #commands() {
    return [...this.#client.outbox.unanswered, ...this.undo.commands];
  }

  #asItIsNow(found, commands) {
    const item = this.#client.inbox.item(found.id, commands);
    return item === undefined || item.version === found.version ? found : { ...item, excerpt: found.excerpt };
  }

  /** Once for all that happens before the next picture. */
  #soon() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.#due && this.draw());
  }

  /** Open the first chat that has the query in it, if that is what is still asked for. */
  #openFirst(query) {
    const { search } = this;
    this.#wanted = query === search.query ? query : "";
    if (!this.#wanted || !search.settled) return;
    this.#wanted = "";
    this.draw();
    this.#nodes.found.querySelector("a")?.click();
  }

  /** The inbox has changed. */
  #look() {
    const { pending } = this.undo;
    const thread = pending?.command?.thread;
    if (thread && goneOn(pending.item, this.#client.inbox.items.get(thread))) {
      this.undo.undo();
      this.undo.offer({ words: kept(pending.item.title || UNNAMED) });
    }
    this.#soon();
  }

  /** Show the archived chats, or the others. */
  show(archived) {
    if (archived === this.#archived) return;
    this.search.leave();
    this.#archived = archived;
    const button = this.#nodes.archived;
    button.setAttribute("aria-pressed", String(archived));
    button.title = archived ? SHOW_CHATS : SHOW_ARCHIVED;
    this.#nodes.list.scrollTop = 0;
    this.draw();
  }

  /** Bring older chats if the end of the list is near. */
  #lookForMore() {
    this.#near.unobserve(this.#nodes.older);
    this.#near.observe(this.#nodes.older);
  }

  async #bring() {
    const { older } = this.#nodes;
    if (this.#bringing || older.hidden || !this.#client.connection.live) return;
    this.#bringing = true;
    try {
      await this.#client.older(this.#archived);
      requestAnimationFrame(() => this.#lookForMore());
    } catch {
      // The button is still there.
    } finally {
      this.#bringing = false;
    }
  }

  // ------------------------------------------------------------------------------------------------ with one chat

  async #chosen(what, id) {
    const item = this.item(id);
    if (item === undefined) return;
    const title = item.title || UNNAMED;
    if (what === "pin") {
      this.#actions.update(id, { pinned: !item.pinned });
    } else if (what === "rename") {
      const list = this.search.active ? this.#found : this.#chats;
      const name = await list.rename(id, item.title);
      if (name !== null) this.#actions.update(id, { title: name });
    } else if (what === "archive") {
      this.#actions.update(id, { archived: !item.archived });
      if (!item.archived) {
        this.undo.offer({ words: archived(title), undo: () => this.#actions.update(id, { archived: false }) });
      }
    } else if (what === "delete") {
      const shown = id === this.#current;
      const reopen = () => shown && this.#current === null && this.#actions.open(id);
      this.undo.offer({ words: deleted(title), command: { type: "delete", thread: id }, item, undo: reopen });
      this.draw();
      if (shown) this.#actions.open(null);
    }
  }
}
