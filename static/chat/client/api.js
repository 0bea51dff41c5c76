/** Requests to the server's API, for the transport that is made of them. */

import { Patience } from "./clock.js";

/** An answer must come within … (a server waits 10 s for its database, and then says "later") */
const ANSWER = 15_000;

/** Commands in one request: less than the server allows. */
export const BATCH = 10;

/** The server refused a request: `error` is the protocol's error object. */
export class RefusedRequest extends Error {
  constructor(error) {
    super(error.message);
    this.error = error;
  }
}

export class Api {
  #base;
  #fetch;
  #headers;
  #clock;
  #ended = new AbortController();

  /** `base`: its address. `token`: an API token, where no cookie signs in. `headers()`: what else each request needs. */
  constructor({ base, token = null, headers = () => ({}), fetch = (...given) => globalThis.fetch(...given), clock }) {
    this.#base = base;
    this.#headers = () => ({ ...headers(), ...(token === null ? {} : { Authorization: `Bearer ${token}` }) });
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /** No more requests: those under way are given up. */
  end() {
    this.#ended.abort();
  }

  get ended() {
    return this.#ended.signal.aborted;
  }

  /** The JSON that the server answers; with a `body`, to this. */
  async json(path, body) {
    const patience = new Patience(this.#clock, ANSWER);
    try {
      return await (await this.open(path, { body, signal: patience.signal })).json();
    } finally {
      patience.end();
    }
  }

  /**
   * A response whose body is read by the caller. `signal` gives the request up, with `keepalive` it outlives the page.
   * Rejects with RefusedRequest, or as `fetch` does if there is no server.
   */
  async open(path, { body, signal, keepalive = false }) {
    const response = await this.#fetch(this.#base + path, {
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
      headers: { ...this.#headers(), ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      signal: signal === undefined ? this.#ended.signal : AbortSignal.any([this.#ended.signal, signal]),
      keepalive,
      redirect: "error",
      cache: "no-store",
    });
    if (response.ok) return response;
    const error = await response.json();
    if (typeof error.code !== "string") throw new TypeError("An error that is not the server's.");
    throw new RefusedRequest(error);
  }
}
