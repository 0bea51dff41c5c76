/**
 * The thread that is shown: its transcript and what the outbox holds for it, as nodes.
 *
 * Nodes are kept by message id, from the moment a message is written until it is settled, so that nothing on the screen
 * is made twice. All changes of one frame are drawn at once.
 */

import { ended } from "../client/transcript.js";
import { arrange } from "./arrange.js";
import { actionButton } from "./buttons.js";
import { MessageView } from "./message-view.js";
import { abreast, firsts, outlook, silent } from "./outlook.js";
import { LOADING, WAITING, lifeSign, messageFoot, queueWords } from "./words.js";

export class ThreadView {
  #client;
  #scroll;
  #transcript = null;
  #views = new Map();
  #drawn = true;
  #stale = false;
  #grown = new Set();
  #frozen = null;
  #life = "";
  /** Runs that are known to write another answer. */
  #anew = new Set();
  #outlook = null;
  #onrows = () => this.#schedule(true);
  #ontext = (event) => {
    for (const id of event.detail) this.#grown.add(id);
    // With its first word a message no longer waits for it.
    this.#schedule([...event.detail].some((id) => this.#views.get(id)?.empty));
  };

  /**
   * `nodes`: log, queue, life, empty, gone, earlier, template, editor. `html` is for message-view.js.
   * `serverNow()` is the server's time in ms. `ondrop(thread, text)` gets what was being written in a message that is no
   * longer shown.
   */
  constructor(client, scroll, nodes, { serverNow, ondraw, ondrop, html }) {
    this.#client = client;
    this.#scroll = scroll;
    this.nodes = nodes;
    this.serverNow = serverNow;
    this.ondraw = ondraw;
    this.ondrop = ondrop;
    this.html = (message) => html(this.#transcript.id, message.id);
    for (const node of document.querySelectorAll(".message")) this.#views.set(node.dataset.id, this.#made(node));
    client.outbox.addEventListener("change", this.#onrows);
    client.addEventListener("state", this.#onrows);
  }

  /** Show a thread, or the beginning of a new one (null). */
  show(transcript) {
    const undisturbed = [...this.#views.values()].filter((view) => view.draft === null);
    this.#forget(new Set(undisturbed.map((view) => view.node)));
    this.#transcript?.removeEventListener("rows", this.#onrows);
    this.#transcript?.removeEventListener("text", this.#ontext);
    transcript?.addEventListener("rows", this.#onrows);
    transcript?.addEventListener("text", this.#ontext);
    this.#transcript = transcript;
    this.#frozen = null;
    this.draw();
    this.#scroll.toEnd();
  }

  /**
   * Stop showing more of the run that runs, if its question is shown; returns what is on the screen of it, as the
   * server wants it: `{message: code points}`, or undefined.
   */
  freeze() {
    const run = this.#transcript.running;
    if (run === undefined || !this.#transcript.path.some((message) => message.id === run.prompt)) return undefined;
    this.#frozen = run.id;
    const seen = {};
    for (const message of this.#transcript.writtenBy(run)) {
      const view = this.#views.get(message.id);
      if (view !== undefined) seen[message.id] = view.shown;
    }
    this.#schedule(true);
    return seen;
  }

  /** What was to end the run of this thread was refused: show everything. */
  thaw(thread) {
    if (this.#transcript?.id !== thread) return;
    this.#frozen = null;
    this.#schedule(true);
  }

  /** The run will write another answer: what stands in its place makes way while it waits. */
  expect(run) {
    this.#anew.add(run);
  }

  /** Let a message be edited in its place. `done(text)` as in message-view.js. */
  edit(id, { limit, done }) {
    const message = this.#transcript.messages.get(id);
    const close = (text) => {
      if (text === null) this.#scroll.settle();
      else this.#scroll.toEnd(); // where the new answer will be
      done(text);
    };
    this.#views.get(id)?.edit(this.nodes.editor, message.text, { limit, done: close });
  }

  /** Show how an answer was made, or do so no longer. */
  toggleStats(id) {
    this.#views.get(id)?.toggleStats();
  }

  /** Time has passed: the sign of life counts it. */
  tick() {
    if (this.#transcript !== null) this.#drawLife();
  }

  /** Draw what has changed, now. */
  draw() {
    this.#drawn = true;
    const { empty, gone, earlier, log, queue } = this.nodes;
    const held = document.activeElement;
    const transcript = this.#transcript;
    empty.hidden = transcript !== null;
    gone.hidden = !transcript?.gone;
    const whole = transcript === null || transcript.complete || transcript.gone || this.#isUnsent();
    if (whole) {
      if (ended(transcript?.runs.get(this.#frozen))) this.#frozen = null;
      const [placed, waiting] = this.#lists();
      const turned = this.#turned(placed);
      this.#scroll.keep(() => {
        earlier.hidden = !transcript?.hasEarlier;
        arrange(log, placed);
        arrange(queue, waiting);
      });
      turned?.();
      this.#forget(new Set([...placed, ...waiting]));
      log.setAttribute("aria-busy", String(transcript?.running !== undefined));
    } else {
      // Of a thread that is still on its way, nothing rather than a part; of another one, nothing.
      for (const node of log.querySelectorAll(".message")) if (!transcript.messages.has(node.dataset.id)) node.remove();
      queue.replaceChildren();
      earlier.hidden = true;
      this.#outlook = null;
    }
    this.#stale = false;
    this.#drawLife();
    this.ondraw();
    if (!held.isConnected && document.activeElement === document.body) this.#scroll.focus();
    if (this.#grown.size > 0) this.#schedule(false);
  }

  #schedule(rows) {
    this.#stale ||= rows;
    if (!this.#drawn) return;
    this.#drawn = false;
    requestAnimationFrame(() => {
      if (this.#drawn) return;
      if (this.#stale) this.draw();
      else this.#grow();
    });
  }

  #grow() {
    this.#drawn = true;
    const before = this.#life;
    for (const id of [...this.#grown]) {
      let more = false;
      const message = this.#transcript?.messages.get(id);
      const view = this.#views.get(id);
      if (view !== undefined && message !== undefined && message.run !== this.#frozen) {
        this.#scroll.keep(() => (more = view.grow(message, this.#scroll.stuck)));
      }
      if (!more) this.#grown.delete(id);
    }
    this.#drawLife();
    if (before !== this.#life) this.ondraw();
    if (this.#grown.size > 0) this.#schedule(false);
  }

  /** Whether the server does not know the thread yet. */
  #isUnsent() {
    return this.#transcript.version === 0 && this.#entries().some(({ command }) => command.type === "send");
  }

  /** The page is going away: what is being written in messages is not lost. */
  keepDrafts() {
    for (const { draft } of this.#views.values()) if (draft) this.ondrop(this.#transcript.id, draft);
  }

  /** What the outbox holds for the thread. */
  #entries() {
    return this.#client.outbox.entries.filter(({ command }) => command.thread === this.#transcript?.id);
  }

  /** The nodes of what has its place and of what waits for one. */
  #lists() {
    const transcript = this.#transcript;
    this.#outlook = null;
    if (transcript === null) return [[], []];
    this.#outlook = outlook(transcript, this.#entries(), this.#anew);
    const { path, next, waiting, pending, wanted } = this.#outlook;
    const busy = transcript.running !== undefined || transcript.queued.length > 0 || pending;
    const first = firsts(path, transcript.runs);
    const beside = abreast(path, transcript.runs, first);
    this.nodes.log.toggleAttribute("data-abreast", beside.some((count) => count > 1));
    const placed = [];
    path.forEach((message, at) => {
      const run = message.role === "user" ? silent(path, at, transcript.runs) : transcript.runs.get(message.run);
      const frozen = this.#frozen !== null && message.run === this.#frozen && message.role === "assistant";
      if (frozen && !this.#views.has(message.id)) return;
      const last = at === path.length - 1;
      const whole = first[at + 1] !== first[at];
      const state = { run, busy, last, whole, stopping: frozen, beside: beside[at] > 1 };
      const named = first[at] !== at || first[at + 1] === at;
      const foot = messageFoot(message, state);
      placed.push(this.#view(message, { foot, run, wanted, frozen, named, abreast: beside[at] }));
    });
    const ahead = transcript.running !== undefined && !this.#outlook.left;
    for (const shown of next) placed.push(this.#waiting(shown, ahead));
    return [placed, waiting.map((shown) => this.#waiting(shown, true))];
  }

  /** A message that has no place yet. `ahead`: whether something comes before it. */
  #waiting({ message, entry }, ahead) {
    const place = this.#transcript.runs.get(message.run)?.place ?? 1;
    const { live } = this.#client.connection;
    // What was said in a chat that the server does not make was refused for want of one.
    const refused = this.#entries().find(({ command, error }) => command.type === "create" && error);
    const error = entry?.error && (refused ?? entry).error;
    const state = { error, handed: entry?.handed, live, first: !ahead, waiting: ahead ? queueWords(place) : "" };
    return this.#view(message, { foot: messageFoot(message, state) });
  }

  #view(message, state) {
    let view = this.#views.get(message.id);
    if (view === undefined) {
      view = this.#made(this.nodes.template.content.firstElementChild.cloneNode(true));
      this.#views.set(message.id, view);
    }
    if (view.update(message, { ...state, fold: this.#scroll.stuck })) this.#grown.add(message.id);
    return view.node;
  }

  /** Forget all but these nodes. What is being written in one that goes is not lost. */
  #forget(kept) {
    for (const [id, view] of this.#views) {
      if (kept.has(view.node)) continue;
      this.#views.delete(id);
      if (view.draft) this.ondrop(this.#transcript.id, view.draft);
    }
  }

  /**
   * When another version of a message is about to take its place, and the reader has asked for it there: what keeps
   * place and focus, to be called afterwards.
   */
  #turned(placed) {
    const button = document.activeElement?.closest(".message [data-do]");
    const before = button?.closest(".message");
    if (!before || placed.includes(before)) return null;
    const isVersion = (node) => this.#transcript.messages.get(node.dataset.id)?.siblings?.includes(before.dataset.id);
    const after = placed.find(isVersion);
    const { top } = before.getBoundingClientRect();
    return () => {
      if (after === undefined) return this.#scroll.focus();
      this.#scroll.place(after, top);
      after.querySelector(`[data-do="${button.dataset.do}"]`)?.focus({ preventScroll: true });
    };
  }

  #made(node) {
    return new MessageView(node, { html: this.html });
  }

  #drawLife() {
    const { life } = this.nodes;
    const transcript = this.#transcript;
    const sign = transcript === null || transcript.gone ? null : this.#sign(transcript);
    const key = JSON.stringify(sign);
    if (key === this.#life) return;
    this.#life = key;
    life.hidden = sign === null;
    if (sign === null) return;
    life.dataset.state = sign.state;
    life.querySelector(".words").textContent = sign.words;
    const actions = life.querySelector(".actions");
    life.dataset.id = sign.of ?? "";
    actions.replaceChildren(...(sign.action ? [actionButton(sign.action)] : []));
  }

  #sign(transcript) {
    const { live } = this.#client.connection;
    if (this.#outlook === null) return { state: "busy", words: live ? LOADING : WAITING };
    const { path, left, pending } = this.#outlook;
    if (this.#frozen !== null && !left) return null;
    return lifeSign(transcript, { path, left, pending, now: this.serverNow(), live });
  }
}
