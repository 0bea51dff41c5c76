/**
 * What can be taken back for a while: one thing at a time, the last one. Pure: the clock comes from outside.
 *
 * A deletion is put off so long, and asks nobody whether they are sure. Until then it is nowhere but here: the page leaves
 * the chat out of its list, and other devices still have it. So nothing is deleted that could not have been taken back:
 *
 * - Time is up, the next thing can be taken back, or the page is left or reloaded: the command is given. From then on it is
 *   kept and sent again like any other, so that it outlives a lost connection.
 * - Somebody points at it, or has come to it by keyboard: it waits.
 * - Browser or machine die before that: nothing is deleted, the chat is back in the list. Whoever wants it gone says so again.
 * - Somebody goes on with the chat meanwhile, on another device or in another tab, or opens it again here: it is kept.
 *
 * Tells `change`.
 */

import { systemClock } from "../client/clock.js";

export const WHILE = 8_000;

export class Undo extends EventTarget {
  #pending = null;
  #timer = null;
  #act;
  #clock;

  /** `act(command)` gives a command that was put off. */
  constructor(act, clock = systemClock) {
    super();
    this.#act = act;
    this.#clock = clock;
  }

  /** What can be taken back now, or null. */
  get pending() {
    return this.#pending;
  }

  /** Whether there is anything to take back. */
  get possible() {
    return this.#pending?.undo !== undefined;
  }

  /** The command that is put off, as a list. */
  get commands() {
    return this.#pending?.command ? [this.#pending.command] : [];
  }

  /** Let this be taken back: `words` say what was done, `command` is what is put off, `undo()` is called if it is taken
   * back; without that it is only said. */
  offer(pending) {
    this.settle();
    this.#change(pending);
    this.hold(false);
  }

  /** Let it wait, or have all its time from now on. */
  hold(held) {
    this.#clock.clear(this.#timer);
    if (!held && this.#pending !== null) this.#timer = this.#clock.set(() => this.settle(), WHILE);
  }

  /** Take it back. */
  undo() {
    this.#clock.clear(this.#timer);
    const pending = this.#pending;
    this.#change(null);
    pending?.undo?.();
  }

  /** It is done, and can't be taken back any more. */
  settle() {
    if (this.#pending === null) return;
    this.#clock.clear(this.#timer);
    const { command } = this.#pending;
    this.#pending = null;
    if (command) this.#act(command);
    this.#change(null);
  }

  /** Whether the deletion of this thread is put off. */
  deletes(thread) {
    return this.commands.some((command) => command.type === "delete" && command.thread === thread);
  }

  #change(pending) {
    this.#pending = pending;
    this.dispatchEvent(new Event("change"));
  }
}

/** Whether somebody has asked something in a thread since: `before` and `now` are its items. */
export function goneOn(before, now) {
  return before?.status === "idle" && now !== undefined && now.status !== "idle";
}
