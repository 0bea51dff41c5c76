/** What people do in the chat that is shown: each is a command or two, and what the screen makes of them at once. */

import { newId } from "../client/ids.js";
import { errorWords } from "./error-words.js";
import { firsts } from "./outlook.js";

export class Conversation {
  #client;
  #view;
  #composer;
  #complain;
  #onempty;

  /**
   * `complain(words, again)` tells of what was refused; `again` is null where trying again is of no use. `onempty()`: of a
   * chat that was begun nothing is left.
   */
  constructor(client, view, composer, { complain, onempty }) {
    this.#client = client;
    this.#view = view;
    this.#composer = composer;
    this.#complain = complain;
    this.#onempty = onempty;
    /** The thread's transcript; null: it begins with the first message. */
    this.transcript = null;
    /** Bytes of the longest message. */
    this.limit = Infinity;
  }

  get #thread() {
    return this.transcript.id;
  }

  /** Whether this was asked for already, and has no answer yet: who presses twice means it once. */
  #isAsked(type, fields) {
    const same = (command) => Object.entries(fields).every(([name, value]) => command[name] === value);
    return this.#client.outbox.unanswered.some((command) => command.type === type && same(command));
  }

  /** Do what gives a command's promise; whether it was done. */
  async attempt(act) {
    try {
      await act();
      return true;
    } catch ({ error }) {
      this.#complain(errorWords(error), error.retryable ? () => this.attempt(act) : null);
      return false;
    }
  }

  /** Set title, model, system_prompt, archived or pinned of a thread. */
  update(thread, fields) {
    this.attempt(() => this.#client.update(thread, fields));
  }

  /** Send a message. While an answer is being written it waits; `now`: it ends the answer where it was read. */
  send(text, { now = false } = {}) {
    this.#send(this.#thread, text, now ? { on_busy: "interrupt", seen: this.#view.freeze() } : {});
  }

  /** Begin a chat with a message: its id. */
  begin(text, fields) {
    const thread = newId();
    this.#client.create(thread, fields).catch(() => {});
    this.#send(thread, text, {});
    return thread;
  }

  /** A refused message stays where it is, with the reason and a button: no other complaint is needed. */
  #send(thread, text, options) {
    this.#client.send(thread, text, options).catch(() => this.#view.thaw(thread));
  }

  /** End the answer where it was read. */
  async stop() {
    const run = this.transcript?.running;
    if (run === undefined || this.#isAsked("stop", { run: run.id })) return;
    const thread = this.#thread;
    const seen = this.#view.freeze();
    if (!(await this.attempt(() => this.#client.stop(thread, run.id, { seen })))) this.#view.thaw(thread);
  }

  /** Edit the last thing that was said, in its place. */
  editLast() {
    const { queued, path } = this.transcript ?? { queued: [], path: [] };
    const last = queued.at(-1) ?? path.findLast((message) => message.role === "user");
    if (last !== undefined) this.edit(last.id);
  }

  /** The text of a message as it was written. */
  text(id) {
    return this.transcript.messages.get(id)?.text ?? this.#entry(id).command.text;
  }

  /** Let a message be edited in its place, and put it there as another version. */
  edit(of) {
    const done = (text) => {
      this.#composer.focus();
      if (text !== null) this.#edited(of, text);
    };
    this.#view.edit(of, { limit: this.limit, done });
  }

  async #edited(of, text) {
    const thread = this.#thread;
    const waits = this.transcript.messages.get(of)?.status === "queued";
    const seen = waits ? undefined : this.#view.freeze();
    await this.#leaving(() => this.#client.edit(thread, of, text, { seen }).catch(() => this.#view.thaw(thread)), of);
  }

  /** Another answer in the place of the one that this message belongs to, or to this question. */
  async regenerate(id) {
    const { id: thread, path, runs } = this.transcript;
    const at = path.findIndex((message) => message.id === id);
    const of = at < 0 || path[at].role === "user" ? id : path[firsts(path, runs)[at]].id;
    if (this.#isAsked("regenerate", { of })) return;
    const run = newId();
    this.#view.expect(run);
    await this.#leaving(async () => {
      const seen = this.#view.freeze();
      if (!(await this.attempt(() => this.#client.regenerate(thread, of, { run, seen })))) this.#view.thaw(thread);
    });
  }

  /** Do what leaves a path. Messages that waited there are taken back by it: their text is given back. */
  async #leaving(act, except = null) {
    const { transcript } = this;
    const stays = ({ id, run }) => id !== except && !this.#isAsked("stop", { run });
    const waiting = transcript.queued.filter(stays);
    await act();
    const back = waiting.filter(({ id }) => transcript.messages.get(id)?.status === "unqueued");
    for (const { text } of back.reverse()) this.#composer.give(transcript.id, text);
  }

  /** Go on with an answer that was cut, in the same message. */
  continue(of) {
    const thread = this.#thread;
    if (!this.#isAsked("continue", { of })) this.attempt(() => this.#client.continue(thread, of));
  }

  /** Show the newest path through a message. */
  select(message) {
    const thread = this.#thread;
    if (message) this.attempt(() => this.#client.select(thread, message));
  }

  /** Take a waiting message back, to be written anew. */
  unqueue(id) {
    const { run, text } = this.transcript.messages.get(id);
    if (this.#isAsked("stop", { run })) return;
    this.#withdraw(run);
    this.#composer.give(this.#thread, text);
  }

  /**
   * Send a waiting message at once, before all others: it is taken back, and ends the answer where it was read. Both
   * commands are kept before one of them is sent, so that what was written is never nowhere.
   */
  sendNow(id) {
    const { run, text } = this.transcript.messages.get(id);
    if (this.#isAsked("stop", { run })) return;
    const seen = this.#view.freeze();
    this.#withdraw(run);
    this.#send(this.#thread, text, { on_busy: "interrupt", seen });
  }

  /** Take back a run that waits. */
  #withdraw(run) {
    const thread = this.#thread;
    this.attempt(() => this.#client.stop(thread, run, { seen: undefined }));
  }

  /** Send again what was refused. */
  resend() {
    this.#client.retry(this.#thread);
  }

  /** Take a message back that was refused, or never sent, to be written anew. */
  takeBack(id) {
    const entry = this.#entry(id);
    const { outbox, inbox } = this.#client;
    if (entry === undefined || !outbox.discard(entry.command.id)) return;
    const { thread, text } = entry.command;
    const isLeft = this.transcript.version > 0 || this.transcript.gone || inbox.items.has(thread);
    if (isLeft || outbox.entries.some(({ command }) => command.thread === thread)) {
      this.#composer.give(thread, text);
    } else {
      this.#composer.give("new", text);
      this.#onempty();
    }
  }

  /** What the outbox holds of a message. */
  #entry(id) {
    return this.#client.outbox.entries.find((entry) => entry.command.message === id);
  }
}
