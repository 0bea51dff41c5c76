/** Search over titles and texts: a field, and what was found in place of the list. */

import { searchWords } from "./sidebar-words.js";

/** Who types on is not asked for yet. */
const PAUSE = 150;

export class Search extends EventTarget {
  #client;
  #nodes;
  #timer = null;
  #asked = 0;
  #query = "";
  #items = [];
  #more = false;
  #state = "idle";
  #cameFrom = null;

  /** `nodes`: field, results, words, more. Tells `change` when there is something else to show. */
  constructor(client, nodes) {
    super();
    this.#client = client;
    this.#nodes = nodes;
    nodes.field.addEventListener("input", () => this.#typed());
    nodes.field.addEventListener("focus", ({ relatedTarget: from }) => {
      if (from !== null && !nodes.results.contains(from)) this.#cameFrom = from;
    });
    nodes.more.addEventListener("click", () => this.#ask(this.#items.at(-1)?.id));
    client.addEventListener("welcome", () => {
      if (this.#state === "waiting") this.#ask();
    });
    this.#typed(); // the field was there before this module
  }

  /** Whether something is searched for. */
  get active() {
    return this.#query !== "";
  }

  get query() {
    return this.#query;
  }

  /** Whether what was found is what is asked for by now. */
  get settled() {
    return this.#state === "found";
  }

  /** What was found, the latest first. */
  get items() {
    return this.#items;
  }

  /** Be ready to type. */
  begin() {
    this.#nodes.field.focus();
    this.#nodes.field.select();
  }

  /** Back to the list, and to where the keyboard was before. Whether there was anything to leave. */
  leave() {
    const { field, results } = this.#nodes;
    const inside = [field, results].some((node) => node.contains(document.activeElement));
    if (!this.active && !inside) return false;
    field.value = "";
    this.#typed(); // and the list is there again, before one of it gets the keyboard
    if (inside) {
      field.blur();
      if (this.#cameFrom?.isConnected) this.#cameFrom.focus();
    }
    this.#cameFrom = null;
    return true;
  }

  #typed() {
    const query = this.#nodes.field.value.trim();
    if (query === this.#query) return;
    this.#query = query;
    this.#asked++; // an answer to what was asked before is of no use
    clearTimeout(this.#timer);
    if (query === "") [this.#items, this.#more] = [[], false];
    else this.#timer = setTimeout(() => this.#ask(), PAUSE);
    this.#become(query === "" ? "idle" : "asking");
  }

  /** Ask for the first page, or for the one after a thread. */
  async #ask(before) {
    if (!this.#client.connection.live) return this.#become("waiting");
    const asked = ++this.#asked;
    this.#become("asking");
    try {
      const { items, more } = await this.#client.search(this.#query, before);
      if (asked !== this.#asked) return;
      const held = before === undefined ? [] : this.#items;
      const known = new Set(held.map((item) => item.id));
      this.#items = [...held, ...items.filter((item) => !known.has(item.id))];
      this.#more = more;
      this.#become("found");
    } catch {
      if (asked === this.#asked) this.#become("failed");
    }
  }

  #become(state) {
    this.#state = state;
    const { words, more } = this.#nodes;
    words.textContent = this.active ? searchWords(state, this.#query, this.#items.length, this.#more) : "";
    more.hidden = !this.#more;
    this.dispatchEvent(new Event("change"));
  }
}
