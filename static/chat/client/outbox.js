/**
 * Commands that have no reply yet, in the order they were given.
 *
 * They are sent again after every reconnect with the same ids, which changes nothing on the server if the first one
 * arrived. Refused ones that hold what a person wrote (`create`, `send`, `edit`) stay here with their error until they are
 * tried again or discarded. Everything except questions (`history`, `search`) is kept in the `store`, if there is one,
 * and so survives a reload.
 */

const QUESTIONS = new Set(["history", "search"]);
const WRITTEN = new Set(["create", "send", "edit"]);

/** A command was refused: `error` is the protocol's error object. */
export class Refused extends Error {
  constructor(error) {
    super(error.message);
    this.name = "Refused";
    this.error = error;
  }
}

/** Tells `change` whenever what it holds has changed. */
export class Outbox extends EventTarget {
  #entries = [];
  #waiting = new Map();
  #store;

  /** `store`: `load()` returns what `save(entries)` was last given, or nothing. */
  constructor(store = { load: () => [], save: () => {} }) {
    super();
    this.#store = store;
    this.#entries = store.load() ?? [];
  }

  /** Entries `{command, error}`, oldest first; `error` is null while the reply is awaited. */
  get entries() {
    return this.#entries;
  }

  /** The commands whose reply is awaited, in order. */
  get unanswered() {
    return this.#entries.filter((entry) => !entry.error).map((entry) => entry.command);
  }

  /** Those of them that change something. */
  get changes() {
    return this.unanswered.filter((command) => !QUESTIONS.has(command.type));
  }

  /** Whether a command of this type on this thread awaits its reply. */
  awaits(type, thread) {
    return this.unanswered.some((command) => command.type === type && command.thread === thread);
  }

  /** Keep the command until it is answered. The promise gives the reply's result, or is rejected with Refused. */
  add(command) {
    const reply = new Promise((resolve, reject) => this.#waiting.set(command.id, { resolve, reject }));
    this.#entries.push({ command, error: null });
    this.#changed();
    return reply;
  }

  /** The reply came (`error` null) or the refusal. Returns the command, or undefined if it was none of ours. */
  settle(id, result, error = null) {
    const entry = this.#entries.find((candidate) => candidate.command.id === id);
    if (entry === undefined) return undefined;
    if (error !== null && WRITTEN.has(entry.command.type)) entry.error = error;
    else this.#remove([entry]);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#changed();
    if (error === null) waiting?.resolve(result);
    else waiting?.reject(new Refused(error));
    return entry.command;
  }

  /** The thread's refused commands, to be sent again in order, under their ids: a refusal is kept nowhere, and one whose
   * answer was an accident may have been done. */
  retry(thread) {
    const refused = this.#entries.filter((entry) => entry.error && entry.command.thread === thread);
    for (const entry of refused) {
      entry.error = null;
    }
    this.#changed();
    return refused.map((entry) => entry.command);
  }

  /** Forget a refused message, and a refused `create` that nothing else needs. */
  discard(id) {
    const entry = this.#entries.find((candidate) => candidate.command.id === id && candidate.error);
    if (entry === undefined) return;
    this.#remove([entry]);
    const { thread } = entry.command;
    const rest = this.#entries.filter((candidate) => candidate.command.thread === thread);
    if (rest.every((candidate) => candidate.error && candidate.command.type === "create")) this.#remove(rest);
    this.#changed();
  }

  #remove(entries) {
    this.#entries = this.#entries.filter((entry) => !entries.includes(entry));
  }

  #changed() {
    this.#store.save(this.#entries.filter((entry) => !QUESTIONS.has(entry.command.type)));
    this.dispatchEvent(new Event("change"));
  }
}
