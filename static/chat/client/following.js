/**
 * One thread, or the inbox, followed over HTTP: a response after the other, each from the cursor that the last one came to.
 *
 * They are event streams; or long polls, if something on the way keeps the first stream back, and does not keep back a poll.
 */

import { RefusedRequest } from "./api.js";
import { Patience } from "./clock.js";
import { read } from "./event-stream.js";

/** A stream's first line comes at once. If not within …, something may be keeping it. */
const FIRST = 5_000;
/** Heartbeats come after 10 s of silence; after so much silence the response is dead. */
const SILENCE = 25_000;
/** Seconds that a poll waits for news: one without any is what a heartbeat is. */
const WAIT = 10;
/** Between two polls with news, so that an answer that is being written does not make a hundred of them. */
const BREATH = 300;
/** A refusal that may pass, without a time of its own. */
const AGAIN = 2_000;

export class Following {
  #api;
  #clock;
  #ways;
  #thread;
  #path;
  #cursor;
  #all;
  #onframe;
  #stopped = new AbortController();
  /** Whether everything has come that there was at the beginning. */
  #level = false;
  #suspicious = false;

  /**
   * Of the `attach` command: `thread` (undefined: the inbox), `cursor`, `all`. `ways` is what all of a page's followings
   * know of the network: its `proven` is "events", "polls", or null.
   */
  constructor({ thread, cursor, all }, { api, clock, ways, onframe }) {
    this.#thread = thread;
    this.#path = thread === undefined ? "inbox" : `threads/${thread}`;
    this.#cursor = cursor;
    this.#all = all;
    this.#api = api;
    this.#clock = clock;
    this.#ways = ways;
    this.#onframe = onframe;
  }

  stop() {
    this.#stopped.abort();
  }

  /**
   * Follow until `stop`, or until the thread is gone. Calls `begun` when the server has agreed; before that a refusal
   * rejects (RefusedRequest), after it only one that will not pass does. So does a network that falls.
   */
  async run(begun) {
    let agreed = false;
    const agree = () => {
      if (!agreed) begun();
      agreed = true;
    };
    while (!this.#over) {
      try {
        const polls = this.#suspicious || this.#ways.proven === "polls";
        await this.#pause(await (polls ? this.#poll(agree) : this.#stream(agree)));
      } catch (failure) {
        if (this.#over) return;
        if (!agreed || !(failure instanceof RefusedRequest)) throw failure;
        const { code, retryable, retry_after: seconds } = failure.error;
        if (code === "not_found") this.#take({ type: "gone", thread: this.#thread, code });
        else if (retryable) await this.#pause(seconds ? seconds * 1000 : AGAIN);
        else throw failure;
      }
    }
  }

  get #over() {
    return this.#stopped.signal.aborted || this.#api.ended;
  }

  /** One stream, to its end. Returns after how many milliseconds to go on. */
  async #stream(agree) {
    const patience = new Patience(this.#clock, this.#ways.proven === "events" ? SILENCE : FIRST);
    let again = 0;
    try {
      const { body } = await this.#open("events", {}, patience);
      agree();
      for await (const events of read(body)) {
        this.#ways.proven = "events";
        patience.more(SILENCE);
        for (const { type, data } of events) {
          if (type === "retry") again = Number(data);
          else if (type === "error") throw new RefusedRequest(JSON.parse(data));
          else this.#take(JSON.parse(data));
        }
      }
    } catch (failure) {
      if (!patience.signal.aborted || this.#ways.proven === "events") throw failure;
      this.#suspicious = true;
    } finally {
      patience.end();
    }
    return again;
  }

  /** One poll. Returns after how many milliseconds to go on. */
  async #poll(agree) {
    const patience = new Patience(this.#clock, WAIT * 1000 + SILENCE);
    try {
      const response = await this.#open("updates", { wait: this.#level ? WAIT : 0 }, patience);
      const { events, cursor, more } = await response.json();
      this.#ways.proven = "polls";
      agree();
      for (const event of events) this.#take(event);
      this.#cursor = cursor;
      if (events.some(({ from }) => from === 0)) this.#level = false;
      if (!more && !this.#level) this.#take({ type: "caught_up", ...this.#topic, cursor });
      else if (!events.length) this.#take({ type: "heartbeat", n: 0 });
      this.#level ||= !more;
      return more || !events.length ? 0 : BREATH;
    } finally {
      patience.end();
    }
  }

  get #topic() {
    return this.#thread === undefined ? { inbox: true } : { thread: this.#thread };
  }

  #open(what, asked, patience) {
    const query = new URLSearchParams(asked);
    if (this.#cursor) query.set("cursor", this.#cursor);
    if (this.#all) query.set("all", "1");
    const signal = AbortSignal.any([patience.signal, this.#stopped.signal]);
    return this.#api.open(`${this.#path}/${what}?${query}`, { signal });
  }

  #take(frame) {
    if (this.#over) return;
    this.#cursor = frame.cursor ?? this.#cursor;
    this.#onframe(frame);
    if (frame.type === "gone") this.stop();
  }

  #pause(duration) {
    return new Promise((resolve) => this.#clock.set(resolve, duration));
  }
}
