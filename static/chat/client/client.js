/**
 * The client: one connection, an inbox, the transcripts that are followed, and an outbox. It knows nothing of a page.
 *
 *     const client = new Client({ url: "wss://chat.example/ws/chat/" });
 *     client.start();
 *     const transcript = client.follow(thread);
 *     transcript.addEventListener("text", () => show(transcript.path));
 *     await client.send(thread, "Hello");
 *
 * It needs what browsers and Node have: WebSocket, fetch, EventTarget, crypto. Commands give a promise of their reply, which is
 * rejected with Refused if the server refuses; each may be given at any time, and is sent again until it is answered.
 *
 * Tells `state` (see connection.js), `welcome`, and `fault` (detail: an error that answers no command of ours).
 */

import { Api } from "./api.js";
import { systemClock } from "./clock.js";
import { Connection } from "./connection.js";
import { flush } from "./flush.js";
import { newId } from "./ids.js";
import { Inbox } from "./inbox.js";
import { Outbox, Refused } from "./outbox.js";
import { Transcript } from "./transcript.js";
import { apiBeside, transportsTo, turnOf } from "./transports.js";

export { newId, Refused };

/** Transcripts that are kept when nobody follows them, so that going back to one needs only what is new. */
const KEPT = 20;
/** An attach that failed for the server's own reasons is tried again after … */
const ATTACH_AGAIN = 2_000;
/** Bytes of a frame: one that is longer the server could not even tell whose it is. */
const MAX_FRAME = 65_536;
const INBOX = "inbox";
const TOO_LONG = "This is longer than the server allows.";
const TOO_LARGE = { code: "too_large", status: 413, message: TOO_LONG, retryable: false };

/** Not of the protocol: the connection is somebody else's by now. */
export const OTHER_USER = "other_user";

export class Client extends EventTarget {
  #transcripts = new Map();
  #followed = new Set();
  /** Attach commands that have no reply: id → thread, or INBOX. */
  #attaching = new Map();
  /** Detached, and the server may not know yet: thread or INBOX → the id of the detach. What comes is of before. */
  #detaching = new Map();
  /** Replies that came before the changes they speak of: over HTTP each has a way of its own. */
  #early = [];
  #api;
  #user;
  #clock;

  /**
   * The options of `transportsTo`, the outbox's `store`, and `random` of Connection. `user`: the id of whom it acts for;
   * where somebody else has signed in since, it is refused with OTHER_USER and sends nothing. `via`: what
   * `connection.via` was not long ago on this network, to begin with it.
   */
  constructor({ store, user = null, clock = systemClock, random, ...options }) {
    super();
    this.#user = user;
    this.#clock = clock;
    this.inbox = new Inbox();
    this.outbox = new Outbox(store);
    this.welcome = null;
    this.#api = new Api({ ...options, base: apiBeside(options.url), clock });
    this.connection = new Connection({
      transports: transportsTo({ ...options, clock }),
      turn: turnOf(options.via),
      clock,
      random,
      onframe: (frame) => this.#receive(frame),
      onstate: (state) => this.dispatchEvent(new CustomEvent("state", { detail: state })),
    });
  }

  start() {
    this.connection.start();
  }

  /** Be connected no longer. What is held is kept, and goes on after another `start`. */
  close() {
    this.connection.close();
  }

  /** The page may be gone in a moment: what has no reply yet is said once more, by requests that outlive it. */
  flush() {
    if (this.connection.state.name !== "refused") flush(this.outbox.changes, this.#api);
  }

  /** The thread's transcript, followed or not. */
  transcript(thread) {
    const transcript = this.#transcripts.get(thread) ?? new Transcript(thread);
    this.#transcripts.delete(thread);
    this.#transcripts.set(thread, transcript);
    for (const id of [...this.#transcripts.keys()].slice(0, -KEPT)) {
      if (!this.#followed.has(id)) this.#transcripts.delete(id);
    }
    return transcript;
  }

  /** Keep the thread's transcript up to date from now on. */
  follow(thread) {
    const transcript = this.transcript(thread);
    if (!this.#followed.has(thread)) {
      this.#followed.add(thread);
      this.#attach(thread);
    }
    return transcript;
  }

  /** Leave it as it is. */
  unfollow(thread) {
    if (this.#followed.delete(thread)) this.#detach(thread);
    this.#replyIfDue();
  }

  /** Bring the next page of older chats into the inbox: of the archived ones, or of the others. */
  async older(archived = false) {
    if (this.inbox.hasOlder(archived)) await this.inbox.bringOlder(archived, (what) => this.do("search", what));
  }

  /** Do a command: now, or when the connection is back. The promise gives its result, or is rejected with Refused. */
  do(type, fields) {
    const command = { type, id: newId(), ...fields };
    const reply = this.outbox.add(command);
    this.#give(command);
    return reply;
  }

  /** Send a thread's refused commands again. */
  retry(thread) {
    for (const command of this.outbox.retry(thread)) this.#give(command);
  }

  #give(command) {
    const size = new TextEncoder().encode(JSON.stringify(command)).length;
    if (size > MAX_FRAME) this.outbox.settle(command.id, null, TOO_LARGE);
    else this.#hand(command);
  }

  #hand(command) {
    if (this.connection.send(command)) this.outbox.hand(command.id);
  }

  // ------------------------------------------------------------------------------------------------------- commands
  // `seen`, what was on screen of the messages of the running run, is all that is held of them unless it is given:
  // undefined says nothing of it.

  /** A new thread: its id. */
  async create(thread = newId(), fields = {}) {
    await this.do("create", { thread, ...fields });
    return thread;
  }

  /** A message and a run that answers it: `{message, run}`. Options: parent, model, seen, and on_busy ("queue",
   * "interrupt" or "reject"). */
  async send(thread, text, options = {}) {
    const ids = { message: newId(), run: newId() };
    const seen = options.on_busy === "interrupt" ? this.#seen(thread, options) : {};
    await this.do("send", { thread, ...ids, text, ...seen, ...options });
    return ids;
  }

  /** Another version of the user's message `of`, and a run that answers it: `{message, run}`. */
  async edit(thread, of, text, options = {}) {
    const ids = { message: newId(), run: newId() };
    await this.do("edit", { thread, of, ...ids, text, ...this.#seen(thread, options), ...options });
    return ids;
  }

  /** Another answer beside the answer `of`: its run. Options: run (its id), model, seen. */
  async regenerate(thread, of, options = {}) {
    const fields = { run: newId(), ...this.#seen(thread, options), ...options };
    await this.do("regenerate", { thread, of, ...fields });
    return fields.run;
  }

  /** Go on with the answer `of`, which was cut: the run that does. */
  async continue(thread, of) {
    const run = newId();
    await this.do("continue", { thread, of, run });
    return run;
  }

  /** The path leads through this message from now on. */
  select(thread, message) {
    return this.do("select", { thread, message });
  }

  /** End the run where it was read. A queued one is taken back. */
  stop(thread, run, options = {}) {
    return this.do("stop", { thread, run, ...this.#seen(thread, options, run), ...options });
  }

  /** Everything up to this message was read. */
  read(thread, message) {
    return this.do("read", { thread, message });
  }

  /** Set title, model, system_prompt, archived or pinned. */
  update(thread, fields) {
    return this.do("update", { thread, ...fields });
  }

  delete(thread) {
    return this.do("delete", { thread });
  }

  /** Add the messages before those of the path that are held; whether there are more. */
  async history(thread, limit) {
    const transcript = this.transcript(thread);
    if (!transcript.hasEarlier) return false;
    const found = await this.do("history", { thread, before: transcript.path[0].id, limit });
    transcript.addEarlier(found);
    return found.more;
  }

  /** Threads with the query in title or texts, a page of them: `{items, more}`. */
  search(query, before) {
    return this.do("search", { query, before });
  }

  #seen(thread, options, run) {
    if ("seen" in options) return {};
    const seen = this.transcript(thread).seen(run);
    return seen === undefined ? {} : { seen };
  }

  // ------------------------------------------------------------------------------------------------------- frames

  /** Apply a frame as if it had come from the server: the page's first frames came with its HTML. */
  apply(frame) {
    const topic = frame.type === "inbox" || frame.inbox ? INBOX : frame.thread;
    const state = topic === INBOX ? this.inbox : this.transcript(topic);
    if (state.apply(frame) === "gap") this.#repair(topic);
    if (frame.type === "gone") this.#followed.delete(topic);
  }

  #receive(frame) {
    switch (frame.type) {
      case "welcome":
        this.#welcomed(frame);
        break;
      case "reply":
        this.#early.push(frame);
        this.#replyIfDue();
        break;
      case "error":
        this.#refused(frame);
        break;
      case "change":
      case "delta":
      case "inbox":
      case "caught_up":
      case "gone":
        if (this.#hears(frame)) this.apply(frame);
        this.#replyIfDue();
        break;
    }
  }

  #hears(frame) {
    const topic = frame.type === "inbox" || frame.inbox ? INBOX : frame.thread;
    if (this.#detaching.has(topic)) return false;
    return topic === INBOX || this.#followed.has(topic);
  }

  #welcomed(frame) {
    if (this.#user !== null && frame.user.id !== this.#user) {
      this.connection.refuse(OTHER_USER);
      return;
    }
    this.welcome = frame;
    this.#attaching.clear();
    this.#detaching.clear();
    this.#early = [];
    this.#attach(INBOX);
    for (const thread of this.#followed) this.#attach(thread);
    for (const command of this.outbox.unanswered) this.#hand(command);
    this.dispatchEvent(new Event("welcome"));
  }

  /** Take the replies whose changes are there, as they are on a websocket. */
  #replyIfDue() {
    const early = this.#early;
    this.#early = early.filter((reply) => this.#isAhead(reply));
    for (const reply of early) if (!this.#early.includes(reply)) this.#replied(reply);
  }

  #isAhead({ id, result }) {
    const thread = this.outbox.unanswered.find((command) => command.id === id)?.thread;
    if (!this.#followed.has(thread) || this.outbox.awaits("create", thread)) return false;
    const transcript = this.transcript(thread);
    return transcript.gone === null && result.version > transcript.version;
  }

  #replied({ id, result }) {
    this.#attaching.delete(id);
    for (const [topic, detach] of this.#detaching) if (detach === id) this.#detaching.delete(topic);
    const command = this.outbox.settle(id, result);
    // Only now is there something to attach to.
    if (command?.type === "create" && this.#followed.has(command.thread)) this.#attach(command.thread);
  }

  #refused({ type, id, ...error }) {
    for (const [topic, detach] of this.#detaching) if (detach === id) this.#notDetached(topic, error.retry_after);
    const topic = this.#attaching.get(id);
    if (topic !== undefined) {
      this.#attaching.delete(id);
      if (error.retryable || topic === INBOX) this.#attachLater(topic, error.retry_after);
      else this.transcript(topic).lose(error.code);
      return;
    }
    if (this.outbox.settle(id, null, error) === undefined) {
      this.dispatchEvent(new CustomEvent("fault", { detail: error }));
    }
  }

  // --------------------------------------------------------------------------------------------------- attachments

  #attach(topic) {
    if (this.outbox.awaits("create", topic)) return;
    const id = newId();
    const what = topic === INBOX ? { inbox: true } : { thread: topic };
    const { cursor } = topic === INBOX ? this.inbox : this.transcript(topic);
    if (this.connection.send({ type: "attach", id, ...what, ...(cursor === null ? {} : { cursor }) })) {
      this.#attaching.set(id, topic);
    }
  }

  #attachLater(topic, seconds) {
    const again = () => {
      if (topic === INBOX || this.#followed.has(topic)) this.#attach(topic);
    };
    this.#clock.set(again, seconds ? seconds * 1000 : ATTACH_AGAIN);
  }

  #detach(topic) {
    const id = newId();
    const what = topic === INBOX ? { inbox: true } : { thread: topic };
    if (this.connection.send({ type: "detach", id, ...what })) this.#detaching.set(topic, id);
  }

  #notDetached(topic, seconds) {
    this.#detaching.delete(topic); // if it is followed again, its attach has replaced the attachment
    const again = () => {
      if (!this.#followed.has(topic)) this.#detach(topic);
    };
    if (topic !== INBOX && !this.#followed.has(topic)) this.#clock.set(again, seconds ? seconds * 1000 : ATTACH_AGAIN);
  }

  #again(topic) {
    this.#detach(topic);
    this.#attach(topic);
  }

  /** Something is missing. Once from where we are; if that does not mend it, from nothing. */
  #repair(topic) {
    if (this.#detaching.has(topic)) return;
    const state = topic === INBOX ? this.inbox : this.transcript(topic);
    if (state.gaps > 1) state.cursor = null;
    this.#again(topic);
  }
}
