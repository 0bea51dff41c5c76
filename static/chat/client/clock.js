/** The time of the machine. Another one has the same three: `now()` in ms, `set(callback, delay)`, `clear(timer)`. */
export const systemClock = {
  now: () => Date.now(),
  set: (callback, delay) => setTimeout(callback, delay),
  clear: (timer) => clearTimeout(timer),
};

/** Waits for signs of life: its signal aborts when none has come for so many milliseconds. */
export class Patience {
  #clock;
  #timer;
  #controller = new AbortController();

  constructor(clock, duration) {
    this.#clock = clock;
    this.more(duration);
  }

  get signal() {
    return this.#controller.signal;
  }

  /** From now on, again. */
  more(duration) {
    this.end();
    this.#timer = this.#clock.set(() => this.#controller.abort(), duration);
  }

  /** Wait for nothing any more. */
  end() {
    this.#clock.clear(this.#timer);
  }
}
