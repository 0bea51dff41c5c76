/**
 * A user's list of threads, replicated like a thread by a version of its own: it begins with the newest items and follows
 * them, older ones come in pages when somebody wants to see them. Tells `rows` when it has changed.
 */

/** Items of a page. */
const PAGE = 100;

export class Inbox extends EventTarget {
  /** Ids are never used again: what was removed does not come back with a page that was read before. */
  #removed = new Set();
  /** Of the archived items (true) and of the others: from which version on none is missing. 0: none at all is. */
  #whole = new Map();
  #begun = 0;

  constructor() {
    super();
    this.items = new Map();
    this.version = 0;
    this.cursor = null;
    this.gaps = 0;
  }

  /** Apply an `inbox` or `caught_up` event: "applied", "dropped" or "gap". */
  apply(event) {
    if (event.type === "inbox") {
      if (event.from === 0) this.#begin(event);
      else if (event.to < this.version) return "dropped";
      else if (event.from > this.version) {
        this.gaps++;
        return "gap";
      }
      for (const id of event.removed) {
        this.items.delete(id);
        this.#removed.add(id);
      }
      for (const item of event.items) this.items.set(item.id, item);
      this.version = event.to;
    } else if (event.type !== "caught_up") {
      return "dropped";
    }
    this.cursor = event.cursor;
    this.dispatchEvent(new Event("rows"));
    return "applied";
  }

  #begin({ items, older }) {
    this.items.clear();
    this.#begun++;
    // Pinned ones come however old they are.
    const newest = items.filter((item) => !item.pinned).map((item) => item.version);
    this.#whole = new Map([[false, older ? Math.min(...newest) : 0], [true, Infinity]]);
  }

  /** Whether there are, or may be, items that are not held: archived ones or others. */
  hasOlder(archived = false) {
    return (this.#whole.get(archived) ?? 0) > 0;
  }

  /** Bring the next page of them. `ask` does a search, and gives the promise of its result. */
  async bringOlder(archived, ask) {
    const begun = this.#begun;
    const from = this.#whole.get(archived);
    const whole = [...this.items.values()].filter((item) => item.archived === archived && item.version >= from);
    const last = whole.reduce((low, item) => (low && low.version < item.version ? low : item), undefined);
    const { items, more } = await ask({ archived, limit: PAGE, ...(last && { before: last.id }) });
    if (begun !== this.#begun) return; // the list has begun anew since, and what was asked for is no longer next
    this.#whole.set(archived, more ? items.at(-1).version : 0);
    for (const item of items) {
      const held = this.items.get(item.id);
      if (!this.#removed.has(item.id) && !(held?.version > item.version)) this.items.set(item.id, item);
    }
    this.dispatchEvent(new Event("rows"));
  }

  /** Whether the thread was in the list, and was deleted since. */
  removed(thread) {
    return this.#removed.has(thread);
  }

  /** A thread's item with what the commands are about to change; undefined if there is none. */
  item(thread, commands = []) {
    const ahead = this.#ahead(commands);
    return ahead.has(thread) ? ahead.get(thread) : this.items.get(thread);
  }

  /** The items, archived or not, with what the commands are about to change: pinned ones first, then the latest. */
  list(commands = [], archived = false) {
    const items = new Map([...this.items, ...this.#ahead(commands)]);
    return [...items.values()].filter((item) => item?.archived === archived).sort(order);
  }

  /** What the commands make of the items they are about; undefined where one is deleted. */
  #ahead(commands) {
    const ahead = new Map();
    for (const { type, thread, title, archived, pinned, text } of commands) {
      const item = ahead.has(thread) ? ahead.get(thread) : this.items.get(thread);
      if (type === "delete") ahead.set(thread, undefined);
      else if (type === "create" && !item) ahead.set(thread, unsent(thread, title, ahead.size));
      else if (type === "send" && item && !item.title) ahead.set(thread, { ...item, title: titleOf(text) });
      else if (type === "update" && item) {
        const values = { title: title ?? item.title, archived: archived ?? item.archived, pinned: pinned ?? item.pinned };
        ahead.set(thread, { ...item, ...values });
      }
    }
    return ahead;
  }
}

/** A thread that only this client knows of: later than all others, and than those that were so before it. */
function unsent(id, title = "", number) {
  const updated_at = `9999-${String(number).padStart(6, "0")}`;
  return { id, version: 0, title, status: "idle", unread: false, archived: false, pinned: false, updated_at };
}

/** Characters of a title that is made from a message. */
const TITLE_LENGTH = 60;
const LINE_ENDS = /[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/;

/** What the server calls a thread by its first message. */
function titleOf(text) {
  const line = [...(text.split(LINE_ENDS).find((one) => one.trim()) ?? "").trim()];
  return line.length <= TITLE_LENGTH ? line.join("") : `${line.slice(0, TITLE_LENGTH - 1).join("").trimEnd()}…`;
}

function order(a, b) {
  if (a.pinned !== b.pinned) return a.pinned ? -1 : 1;
  if (a.updated_at !== b.updated_at) return a.updated_at > b.updated_at ? -1 : 1;
  return a.id < b.id ? -1 : 1;
}
