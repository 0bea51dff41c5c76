/** What is announced of a chat's answers: once that one begins, and once how it has ended. Pure. */

import { ended } from "../client/transcript.js";
import { ANSWER_BEGINS, endWords } from "./words.js";

export class AnswerNews {
  #transcript = null;
  /** How often the transcript had been brought up to date before. */
  #caughtUp = 0;
  /** At the last look: its version (null: nobody has looked), which runs had ended, and which began last. */
  #version = null;
  #ended = new Set();
  #begun = null;

  /** This chat (a transcript or null) is shown from now on. Unless it begins here, how its answers had ended is no news. */
  show(transcript, { begins = false } = {}) {
    this.#transcript = transcript;
    this.#caughtUp = transcript?.caughtUp;
    this.#version = begins ? 0 : null;
    this.#ended = new Set();
    this.#begun = null;
  }

  /** The words for what has happened since the last look, or "". Of an answer that began and ended since: its end. */
  look() {
    const transcript = this.#transcript;
    if (!transcript?.complete || transcript.gone || transcript.caughtUp === this.#caughtUp) return "";
    const { running, runs, version } = transcript;
    const over = [...runs.values()].filter(ended);
    // Versions rise with other things than ends, and earlier messages bring runs that were not held. A message that is
    // taken back from the queue ends a run that never began.
    const isNews = (run) => run.version > this.#version && !this.#ended.has(run.id) && run.started_at;
    const news = this.#version === null ? undefined : over.findLast(isNews);
    const words = news === undefined ? [] : [endWords(news)];
    if (running !== undefined && running.id !== this.#begun) words.push(ANSWER_BEGINS);
    this.#begun = running?.id ?? this.#begun;
    this.#ended = new Set(over.map((run) => run.id));
    this.#version = version;
    return words.join(". ");
  }
}
