/**
 * Commands that have no reply yet, in the order they were given.
 *
 * They are sent again after every reconnect with the same ids, which changes nothing on the server if the first one
 * arrived. Refused ones that hold what a person wrote (`create`, `send`, `edit`) stay here with their error until they are
 * tried again or discarded. Everything except questions (`history`, `search`) is kept in the `store`, if there is one,
 * and so survives a reload. What was never handed to a transport can be taken back: nobody else knows of it.
 */

const QUESTIONS = new Set(["history", "search"]);
const WRITTEN = new Set(["create", "send", "edit"]);

/** Whether nothing of it can be under way. */
const isOurs = (entry) => entry.error !== null || !entry.handed;

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

  /** Entries `{command, error, handed}`, oldest first; `error` is null while the reply is awaited, `handed` whether it was
   * given to a transport, and so may have been done. */
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
    this.#entries.push({ command, error: null, handed: false });
    this.#changed();
    return reply;
  }

  /** It was given to a transport. */
  hand(id) {
    const entry = this.#find(id);
    if (entry === undefined || entry.handed) return;
    entry.handed = true;
    this.#changed();
  }

  /** The reply came (`error` null) or the refusal. Returns the command, or undefined if it was none of ours. */
  settle(id, result, error = null) {
    const entry = this.#find(id);
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

  /** Forget a message that was refused or never handed out, and a `create` of that kind which nothing else needs. Whether
   * it could be. */
  discard(id) {
    const entry = this.#find(id);
    if (entry === undefined || !isOurs(entry)) return false;
    this.#remove([entry]);
    const { thread } = entry.command;
    const rest = this.#entries.filter((candidate) => candidate.command.thread === thread);
    if (rest.every((candidate) => isOurs(candidate) && candidate.command.type === "create")) this.#remove(rest);
    this.#changed();
    return true;
  }

  /** Another page that had the same entry has it no longer: it was answered there, or taken back. */
  drop(id) {
    const entry = this.#find(id);
    if (entry === undefined || !isOurs(entry)) return; // its own reply is on the way
    this.#remove([entry]);
    this.#changed();
  }

  #find(id) {
    return this.#entries.find((entry) => entry.command.id === id);
  }

  #remove(entries) {
    this.#entries = this.#entries.filter((entry) => !entries.includes(entry));
  }

  #changed() {
    this.#store.save(this.#entries.filter((entry) => !QUESTIONS.has(entry.command.type)));
    this.dispatchEvent(new Event("change"));
  }
}
