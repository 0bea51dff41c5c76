/**
 * The transport for networks that let no websocket through: HTTP requests. See connection.js for what a transport is.
 *
 * What is attached is followed by responses of its own (following.js). Commands go over the JSON API in their order, what
 * has gathered at a time. A request that fails ends the whole, as a websocket ends: then everything begins again from the
 * cursors, and commands without a reply are sent again.
 */

import { Api, BATCH, RefusedRequest } from "./api.js";
import { systemClock } from "./clock.js";
import { Following } from "./following.js";

const FELL = 1006;
const TRY_LATER = 1013;
/** What a connection is closed with when the server refuses that there is one. */
const CODES = { unauthenticated: 4401, forbidden: 4403 };

export class HttpTransport {
  #api;
  #clock;
  #ways;
  /** By thread; undefined is the inbox. */
  #followings = new Map();
  #commands = [];
  #working = false;

  /** The options of Api, and `ways`, which all transports of a connection share (see Following). */
  constructor({ clock = systemClock, ways, ...options }) {
    this.#api = new Api({ clock, ...options });
    this.#clock = clock;
    this.#ways = ways;
    this.#attend(async () => this.#say(await this.#api.json("me")));
  }

  get via() {
    return this.#ways.proven ?? "events";
  }

  close() {
    this.#api.end();
  }

  send(frame) {
    if (frame.type === "ack") return;
    if (frame.type === "attach") this.#attach(frame);
    else if (frame.type === "detach") this.#detach(frame);
    else if (frame.type === "search") this.#search(frame);
    else this.#do(frame);
  }

  #attach(command) {
    this.#followings.get(command.thread)?.stop();
    const following = new Following(command, {
      api: this.#api,
      clock: this.#clock,
      ways: this.#ways,
      onframe: (frame) => this.#say(frame),
    });
    this.#followings.set(command.thread, following);
    let begun = false;
    const begin = () => {
      begun = true;
      this.#say({ type: "reply", id: command.id, result: {} });
    };
    this.#attend(() => following.run(begin), (error) => (begun ? [] : [{ type: "error", id: command.id, ...error }]));
  }

  #detach({ id, thread }) {
    this.#followings.get(thread)?.stop();
    this.#followings.delete(thread);
    this.#attend(async () => this.#say({ type: "reply", id, result: {} }));
  }

  #search({ type, id, ...fields }) {
    const asked = new URLSearchParams(Object.entries(fields).filter(([, value]) => value != null));
    this.#attend(
      async () => this.#say({ type: "reply", id, result: await this.#api.json(`threads?${asked}`) }),
      (error) => [{ type: "error", id, ...error }],
    );
  }

  #do(command) {
    this.#commands.push(command);
    if (!this.#working) this.#work();
  }

  /** Send what is of one thread and waits; then what has gathered meanwhile. */
  async #work() {
    this.#working = true;
    await null; // what is given at once goes together
    while (this.#commands.length && !this.#api.ended) {
      const { thread } = this.#commands[0];
      const other = this.#commands.findIndex((command) => command.thread !== thread);
      const batch = this.#commands.splice(0, Math.min(BATCH, other < 0 ? BATCH : other));
      await this.#attend(
        async () => {
          for (const answer of await this.#api.json(`threads/${thread}/commands`, batch)) this.#say(answer);
        },
        (error) => batch.map(({ id }) => ({ type: "error", id, ...error })),
      );
    }
    this.#working = false;
  }

  /** Do this. What the server refuses is answered by the frames of `refused(error)`; without any, it is the end. */
  async #attend(work, refused = () => []) {
    try {
      await null; // nothing comes before whoever asked for it has returned
      await work();
    } catch (failure) {
      const error = failure instanceof RefusedRequest ? failure.error : null;
      const answers = error === null || error.code === "unauthenticated" ? [] : refused(error);
      for (const answer of answers) this.#say(answer);
      if (answers.length || this.#api.ended) return;
      this.close();
      this.onclose(error === null ? FELL : (CODES[error.code] ?? TRY_LATER));
    }
  }

  #say(frame) {
    if (!this.#api.ended) this.onframe(frame);
  }
}
