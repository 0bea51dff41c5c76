/** How text that arrives in lumps appears: smoothly, and never more than a moment after it has arrived. */

/** Milliseconds after which everything that has arrived is there. */
export const BOUND = 300;
/** Milliseconds in which about two thirds of what is missing appear. */
const PACE = 80;
/** Milliseconds between two pictures of a screen, about. */
const FRAME = 16;

export class Pace {
  #arrivals = [];
  #at = -Infinity;
  /** How much of it is there. */
  shown;

  /** `shown`: how much is there to begin with. */
  constructor(shown = 0) {
    this.shown = shown;
  }

  /** How much should be there at `now` (milliseconds) when so much has arrived by then. Never less than before, unless
   * less than that has arrived. */
  advance(arrived, now) {
    // Who has waited for something to come does not get it at once.
    if (this.#arrivals.length === 0) this.#at = Math.max(this.#at, now - FRAME);
    const newest = this.#arrivals.at(-1);
    if (newest === undefined || arrived > newest.amount) this.#arrivals.push({ amount: arrived, at: now });
    let due = 0;
    while (this.#arrivals.length > 0 && now - this.#arrivals[0].at >= BOUND) due = this.#arrivals.shift().amount;
    const step = Math.ceil((arrived - this.shown) * (1 - Math.exp((this.#at - now) / PACE)));
    this.#at = now;
    this.shown = Math.min(arrived, Math.max(this.shown + step, due, this.shown));
    if (this.shown === arrived) this.#arrivals = [];
    return this.shown;
  }
}
