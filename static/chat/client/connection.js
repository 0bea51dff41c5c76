/**
 * One connection that is kept up for ever, by whatever transport gets through.
 *
 * States, told through `onstate`: `connecting` → `live` (the server's welcome came) → `waiting` (it fell; `until` says
 * when it is tried again, `code` why it fell) → `connecting` …; `refused` (the server said not to come back; `code` says
 * why) and `closed` (we closed it) end it until `start` is called.
 *
 * `onframe` gets every frame, in order, after the state has become `live`. A heartbeat is answered when `onframe` has
 * returned, so everything before it has been applied.
 *
 * **Transports.** The first is the one that is meant. When its handshake has failed twice in a row, the second has its
 * turn; while that one is live, the first is tried beside it, and takes over with its welcome: nothing falls for it. Where
 * it is known that the first won't get through, another may begin. A
 * transport has `send(frame)`, `close(code)` and `via`, its name. It calls, never before its maker returns: `onopen()`,
 * if it can tell that it gets through before the first frame, `onframe(frame)`, and `onclose(code)` once, with the
 * protocol's close codes or 1006.
 */

import { systemClock } from "./clock.js";

const FIRST_DELAY = 250;
const LONGEST_DELAY = 30_000;
/** A connection that lived so long was a good one: the next delay begins anew. */
const GOOD = 5_000;
/** The welcome must come within … (a server waits 10 s for its database, and then says "later") */
const HANDSHAKE = 15_000;
/** … and the first transport, in whose place another could be, must get through within … */
const OPENING = 6_000;
/** The server sends a heartbeat after 10 s of silence; after so much silence the connection is dead. */
const SILENCE = 25_000;
/** When the page comes back to life it does not wait that long. */
const STALE = 12_000;
const SLOW_HANDSHAKE = 3_000;
/** So many failed handshakes in a row give another transport its turn. */
const MISSES = 2;
/** Another transport than the first is live: the first is tried again after …, then twice as much, up to … */
const FIRST_RETURN = 10_000;
const LONGEST_RETURN = 300_000;

const REFUSALS = new Set([4400, 4401, 4403]);
const FELL = 1006;
const RESTARTING = 1012;
const TRY_LATER = 1013;
const LATER_ATTEMPT = 5;

export class Connection {
  #transports;
  #clock;
  #random;
  #transport = null;
  #timer = null;
  #attempt = 0;
  #since = 0;
  #heard = 0;
  /** Which transport has its turn, and how many handshakes of the first have failed in a row. */
  #turn = 0;
  #misses = 0;
  /** The first transport, tried beside a live other one, and when. */
  #rival = null;
  #rivalTimer = null;
  #return = FIRST_RETURN;

  /** `transports`: functions that make one each, of which number `turn` begins. `random()` is in [0, 1). */
  constructor({ transports, turn = 0, clock = systemClock, random = Math.random, onframe = () => {}, onstate = () => {} }) {
    this.#transports = transports;
    this.#turn = turn;
    this.#misses = turn > 0 ? MISSES : 0;
    this.#clock = clock;
    this.#random = random;
    this.onframe = onframe;
    this.onstate = onstate;
    this.state = { name: "closed" };
  }

  get live() {
    return this.state.name === "live";
  }

  /** The name of the transport in use, or null. */
  get via() {
    return this.#transport?.via ?? null;
  }

  /** Connect, unless that is under way. */
  start() {
    if (this.#transport === null) this.#connect();
  }

  /** Close it and leave it closed. */
  close() {
    this.#leave(1000);
    this.#become({ name: "closed" });
  }

  /** Close it, as if the server had said so with this code, and do not come back. */
  refuse(code) {
    this.#leave(1000);
    this.#become({ name: "refused", code });
  }

  /** The page or the network has come back: don't wait, and don't trust a connection that has been silent. */
  wake() {
    const { name } = this.state;
    const now = this.#clock.now();
    this.#return = FIRST_RETURN;
    if (name === "refused") return;
    if (name === "live" && now - this.#heard < STALE) {
      if (this.#turn > 0) this.#challenge();
      return;
    }
    if (name === "connecting" && now - this.#since < SLOW_HANDSHAKE) return;
    this.#leave();
    this.#connect();
  }

  /** Whether the frame was handed to the transport; it may be lost all the same. */
  send(frame) {
    if (!this.live) return false;
    this.#transport.send(frame);
    return true;
  }

  // --------------------------------------------------------------------------------------------------- one transport

  #connect() {
    this.#since = this.#clock.now();
    this.#use(this.#transports[this.#turn]());
    const replaceable = this.#turn === 0 && this.#transports.length > 1;
    this.#schedule(replaceable ? OPENING : HANDSHAKE, () => this.#dead());
    this.#become({ name: "connecting" });
  }

  #use(transport) {
    this.#transport = transport;
    transport.onopen = () => {
      if (transport === this.#transport) this.#schedule(HANDSHAKE, () => this.#dead());
    };
    transport.onframe = (frame) => {
      if (transport === this.#transport) this.#receive(frame);
    };
    transport.onclose = (code) => {
      if (transport === this.#transport) this.#closed(code);
    };
  }

  #receive(frame) {
    this.#heard = this.#clock.now();
    if (frame.type === "welcome") {
      this.#since = this.#heard;
      if (this.#turn === 0) this.#misses = 0;
      this.#schedule(SILENCE, () => this.#listen());
      if (this.#turn > 0) this.#challengeLater();
      this.#become({ name: "live" });
    }
    this.onframe(frame);
    if (frame.type === "heartbeat") this.send({ type: "ack", n: frame.n });
  }

  /** Is anybody there? Set anew by its own end, not by every frame. */
  #listen() {
    const left = this.#heard + SILENCE - this.#clock.now();
    if (left > 0) this.#schedule(left, () => this.#listen());
    else this.#dead();
  }

  #dead() {
    this.#leave();
    this.#closed(FELL);
  }

  #closed(code) {
    const lived = this.live ? this.#clock.now() - this.#since : 0;
    if (!this.live && code === FELL) this.#missed();
    if (REFUSALS.has(code)) {
      this.refuse(code);
      return;
    }
    this.#leave();
    if (lived >= GOOD) this.#attempt = 0;
    const delay = this.#delay(code);
    this.#schedule(delay, () => this.#connect());
    this.#become({ name: "waiting", code, until: this.#clock.now() + delay });
  }

  /** A handshake failed. When the first transport has missed often enough, they take turns. */
  #missed() {
    if (this.#turn === 0) this.#misses++;
    const turns = this.#misses < MISSES ? 1 : this.#transports.length;
    this.#turn = (this.#turn + 1) % turns;
  }

  #delay(code) {
    if (code === RESTARTING) return this.#random() * 1_000;
    if (code === TRY_LATER) this.#attempt = Math.max(this.#attempt, LATER_ATTEMPT);
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** this.#attempt);
    this.#attempt++;
    return this.#random() * longest;
  }

  /** Forget the transport at once; its closing handshake may take as long as it likes. */
  #leave(code) {
    this.#clock.clear(this.#timer);
    this.#dropRival();
    const transport = this.#transport;
    this.#transport = null;
    transport?.close(code);
  }

  #schedule(delay, callback) {
    this.#clock.clear(this.#timer);
    this.#timer = this.#clock.set(callback, delay);
  }

  #become(state) {
    this.state = state;
    this.onstate(state);
  }

  // ------------------------------------------------------------------------------------------------ back to the first

  #challengeLater() {
    this.#dropRival();
    this.#rivalTimer = this.#clock.set(() => this.#challenge(), this.#return * (0.5 + this.#random() / 2));
    this.#return = Math.min(LONGEST_RETURN, this.#return * 2);
  }

  /** Try the first transport; until it has said welcome, nothing else changes. */
  #challenge() {
    this.#dropRival();
    const rival = this.#transports[0]();
    this.#rival = rival;
    rival.onopen = () => {};
    rival.onframe = (frame) => {
      if (rival !== this.#rival) return;
      this.#rival = null;
      this.#leave();
      this.#turn = 0;
      this.#use(rival);
      this.#receive(frame);
    };
    rival.onclose = () => {
      if (rival === this.#rival) this.#challengeLater();
    };
    this.#rivalTimer = this.#clock.set(() => this.#challengeLater(), HANDSHAKE);
  }

  #dropRival() {
    this.#clock.clear(this.#rivalTimer);
    const rival = this.#rival;
    this.#rival = null;
    rival?.close();
  }
}
