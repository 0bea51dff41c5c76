/**
 * One thread as a client holds it: rows and live text, brought up to date by the server's events.
 *
 * The rule for events is the protocol's. A change's rows are applied by id; text in a row replaces, lengths cut. A
 * delta is dropped if its end is at or below our seq or its run has ended, applied if it begins at our seq, and
 * otherwise a gap: then `apply` returns "gap", nothing has changed, and whoever owns the attachment attaches again.
 *
 * Tells `rows` when a row has changed, `text` (detail: a set of message ids) when text was appended. While a state is
 * only partly there (`complete` is false) it tells nothing: `caught_up` follows.
 */

import { length, prefix } from "./text.js";

const LEASE_SPAN = 1_000_000;
const FINAL = new Set(["completed", "stopped", "failed", "interrupted"]);
const leaseOf = (seq) => Math.floor(seq / LEASE_SPAN);

/** Whether a run (or none) has ended. */
export const ended = (run) => run !== undefined && FINAL.has(run.state);

export class Transcript extends EventTarget {
  constructor(id) {
    super();
    this.id = id;
    /** How often the server sent what did not fit: never, on an ordered transport. */
    this.gaps = 0;
    /** How often it was brought up to date. */
    this.caughtUp = 0;
    /** The error's code, when the thread is not ours to read (any more). */
    this.gone = null;
    this.#begin();
    /** Whether it holds a whole state, not some pages of one. */
    this.complete = false;
  }

  #seqs;

  #begin() {
    this.row = null;
    this.messages = new Map();
    this.runs = new Map();
    this.version = 0;
    this.cursor = null;
    this.#seqs = new Map();
  }

  /** Apply one event of this thread: "applied", "dropped" or "gap". */
  apply(event) {
    switch (event.type) {
      case "change":
        return this.#change(event);
      case "delta":
        return this.#delta(event);
      case "caught_up":
        this.cursor = event.cursor;
        this.gone = null;
        this.complete = true;
        this.caughtUp++;
        this.dispatchEvent(new Event("rows"));
        return "applied";
      case "gone":
        this.lose(event.code);
        return "applied";
      default:
        return "dropped";
    }
  }

  /** It is deleted, or not ours. */
  lose(code) {
    this.#begin();
    this.gone = code;
    this.dispatchEvent(new Event("rows"));
  }

  /** Earlier messages, as `history` brought them. What is held already is newer. */
  addEarlier({ messages, runs = [] }) {
    for (const row of messages) if (!this.messages.has(row.id)) this.#put(row);
    for (const run of runs) if (!this.runs.has(run.id)) this.runs.set(run.id, run);
    this.dispatchEvent(new Event("rows"));
  }

  /** The run that is writing, if any. */
  get running() {
    return [...this.runs.values()].find((run) => run.state === "running");
  }

  /** The messages from the first one held to the end, the running run's own included. */
  get path() {
    const run = this.running;
    const path = [];
    let message = this.messages.get(this.row?.head) ?? this.messages.get(run?.prompt);
    for (; message !== undefined; message = this.messages.get(message.parent)) path.push(message);
    path.reverse();
    if (run !== undefined) {
      for (const answer of this.writtenBy(run)) {
        if (answer.parent === path.at(-1)?.id && !path.includes(answer)) path.push(answer);
      }
    }
    return path;
  }

  /** A run's answers, in their order. */
  writtenBy(run) {
    return [...this.messages.values()].filter((message) => message.run === run.id && message.role === "assistant");
  }

  /** What is held of a run's answers, as `stop` wants it; undefined if nothing is known of such a run. */
  seen(run = this.running?.id) {
    if (!this.runs.has(run)) return undefined;
    return Object.fromEntries(this.writtenBy({ id: run }).map((answer) => [answer.id, length(answer.text)]));
  }

  /** Messages that wait for their turn, in the order they will have. */
  get queued() {
    const place = (message) => this.runs.get(message.run)?.place ?? Infinity;
    return [...this.messages.values()]
      .filter((message) => message.status === "queued")
      .sort((a, b) => place(a) - place(b) || (a.created_at < b.created_at ? -1 : 1));
  }

  /** Whether the path goes back further than what is held. */
  get hasEarlier() {
    const parent = this.path[0]?.parent ?? null;
    return parent !== null && !this.messages.has(parent);
  }

  // -------------------------------------------------------------------------------------------------------- events

  #change(event) {
    if (event.from === 0) {
      this.#begin();
      this.complete = false;
    } else if (event.to < this.version) {
      return "dropped";
    }
    if (event.from > this.version || !event.messages.every((row) => this.#reaches(row))) return this.#gap();
    if (event.row !== undefined) this.row = event.row;
    for (const run of event.runs) this.#putRun(run);
    const seqs = new Map();
    for (const row of event.messages) {
      this.#put(row);
      if (row.text !== undefined && row.run !== null && row.role === "assistant") {
        seqs.set(row.run, Math.max(row.seq, seqs.get(row.run) ?? 0));
      }
    }
    for (const [run, seq] of seqs) if (this.#seqs.has(run)) this.#seqs.set(run, seq);
    this.version = event.to;
    this.cursor = event.cursor;
    this.#tell(new Event("rows"));
    return "applied";
  }

  #delta(event) {
    const seq = this.#seqs.get(event.run);
    if (ended(this.runs.get(event.run)) || event.to <= seq) return "dropped";
    if (event.from !== seq) return this.#gap();
    const grown = new Set();
    let started = false;
    for (const [kind, id, value] of event.parts) {
      if (kind === "start") {
        this.#start(event.run, id, value);
        started = true;
      } else if (kind === "text" || kind === "reasoning") {
        this.#begun(event.run, id)[kind] += value;
        grown.add(id);
      } else if (kind === "reasoned") {
        this.#begun(event.run, id).reasoning_ms += value;
        grown.add(id);
      } else if (kind === "end" && this.messages.has(id)) {
        this.messages.get(id).ended = true;
        started = true;
      }
    }
    this.#seqs.set(event.run, event.to);
    this.cursor = event.cursor;
    if (started) this.#tell(new Event("rows"));
    this.#tell(new CustomEvent("text", { detail: grown }));
    return "applied";
  }

  #tell(event) {
    if (this.complete) this.dispatchEvent(event);
  }

  #gap() {
    this.gaps++;
    return "gap";
  }

  #begun(run, id) {
    return this.messages.get(id) ?? this.#start(run, id, {});
  }

  /** A message begins whose row comes later. Begun again by a repeated run, it begins empty. */
  #start(run, id, { parent = null, author = "", role = "assistant" }) {
    const held = this.messages.get(id);
    const message = {
      id,
      parent: parent ?? held?.parent ?? this.path.at(-1)?.id ?? null,
      after: null,
      siblings: [id],
      role,
      author,
      status: "streaming",
      error: null,
      run,
      seq: 0,
      version: 0,
      created_at: null,
      updated_at: null,
      ...held,
      text: "",
      reasoning: "",
      reasoning_ms: 0,
      ended: false,
    };
    this.messages.set(id, message);
    return message;
  }

  /** Whether we have the text that the row refers to. */
  #reaches({ id, text, text_length, reasoning_length }) {
    if (text !== undefined || text_length === undefined) return true;
    const held = this.messages.get(id) ?? { text: "", reasoning: "" };
    return length(held.text) >= text_length && length(held.reasoning) >= reasoning_length;
  }

  #put({ text, reasoning, text_length, reasoning_length, reasoning_ms, ...fields }) {
    const message = this.messages.get(fields.id) ?? { text: "", reasoning: "", reasoning_ms: 0, ended: false };
    Object.assign(message, fields);
    this.messages.set(fields.id, message);
    if (text !== undefined) {
      message.text = text;
      message.reasoning = reasoning ?? "";
      message.reasoning_ms = reasoning_ms ?? 0;
    } else if (text_length !== undefined) {
      message.text = prefix(message.text, text_length);
      message.reasoning = prefix(message.reasoning, reasoning_length);
      message.reasoning_ms = reasoning_ms ?? message.reasoning_ms;
    }
  }

  #putRun(run) {
    this.runs.set(run.id, run);
    const seq = this.#seqs.get(run.id);
    if (run.state !== "running") this.#seqs.delete(run.id);
    // Within a lease our own seq is the truth: the row's is the checkpoint's.
    else if (seq === undefined || leaseOf(run.seq) > leaseOf(seq)) this.#seqs.set(run.id, run.seq);
  }
}
