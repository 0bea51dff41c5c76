/**
 * What was given and has no answer yet, as the browser keeps it: every command under a key of its own. So it outlives its
 * tab, and whichever page is opened next sends it; and tabs write over nothing of each other's. Sent by two of them, it
 * is done once.
 */

const KEY = "unsent:";

export class Unsent {
  #memory;
  /** By command id: what is kept of it, as text, and since when, which orders them. */
  #kept = new Map();
  #last = 0;
  #now;

  /** `memory` as in memory.js. */
  constructor(memory, now = () => Date.now()) {
    this.#memory = memory;
    this.#now = now;
  }

  /** All entries that are kept, oldest first. */
  load() {
    const found = this.#memory.keys(KEY).flatMap((key) => this.#read(key));
    found.sort((a, b) => a.at - b.at);
    for (const { at, text, entry } of found) {
      this.#kept.set(entry.command.id, { at, text });
      this.#last = Math.max(this.#last, at);
    }
    return found.map(({ entry }) => entry);
  }

  /** Keep these, and of those that were kept before nothing else. */
  save(entries) {
    const wanted = new Set(entries.map(({ command }) => command.id));
    for (const id of this.#kept.keys()) {
      if (wanted.has(id)) continue;
      this.#kept.delete(id);
      this.#memory.set(KEY + id, "");
    }
    for (const entry of entries) this.#keep(entry);
  }

  /** The id of the command that a storage event says is no longer kept; undefined if it says something else. */
  gone({ key, newValue }) {
    const id = newValue === null ? this.#memory.nameOf(key)?.split(KEY)[1] : undefined;
    return this.#kept.has(id) ? id : undefined;
  }

  /** What stands under a key, in a list; nothing, if another page has just removed it, or it is none of ours. */
  #read(key) {
    try {
      const text = this.#memory.get(key);
      const { at, entry } = JSON.parse(text);
      return entry.command.id === key.slice(KEY.length) ? [{ at, entry, text }] : [];
    } catch {
      return [];
    }
  }

  #keep(entry) {
    const { id } = entry.command;
    const kept = this.#kept.get(id);
    const at = kept?.at ?? Math.max(this.#now(), this.#last + 1);
    const text = JSON.stringify({ at, entry });
    if (text === kept?.text) return;
    this.#last = Math.max(this.#last, at);
    this.#kept.set(id, { at, text });
    this.#memory.set(KEY + id, text);
  }
}
