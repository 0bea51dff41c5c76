/** One message on the page: an <article> of the template, taken over from the server's HTML or made anew. */

import { isHigh, length } from "../client/text.js";
import { Pace } from "../markdown/pace.js";
import { Editor } from "./editor.js";
import { answerText } from "./markdown-text.js";
import { MessageFoot } from "./message-foot.js";
import { PlainText } from "./plain-text.js";
import { authorWords, thoughtWords } from "./words.js";

/** Milliseconds between two renderings, at least; and so many times as long as the last one took. */
const RENDER_PAUSE = 50;
const RENDER_SHARE = 4;
const still = matchMedia("(prefers-reduced-motion: reduce)");

export class MessageView {
  /** What is on the screen of the text. */
  #text = null;
  #shows = null;
  #thoughts;
  /** Whether the server's HTML would be better than what is shown. */
  #poor = false;
  #pace = null;
  #renderAt = 0;
  #opened = null;
  #foot;
  #editor = null;

  /** `html(message)` asks the server for the HTML of a complete answer. */
  constructor(node, { html }) {
    this.node = node;
    this.html = html;
    this.author = node.querySelector(".author");
    this.reasoning = node.querySelector(".reasoning");
    this.label = node.querySelector(".label");
    this.thoughts = node.querySelector(".thoughts");
    this.body = node.querySelector(".text");
    this.#foot = new MessageFoot(node);
    this.#thoughts = new PlainText(this.thoughts);
    // The reader's own choice wins over opening and closing by itself.
    this.reasoning.querySelector("summary").addEventListener("click", () => (this.#opened = !this.reasoning.open));
  }

  /** Whether nothing of the text is on the screen. */
  get empty() {
    return !this.#text;
  }

  /** How much of the text is on the screen, in code points. */
  get shown() {
    return length(this.#text ?? "") - (this.#shows?.held ?? 0);
  }

  /**
   * Show the message as it is now, and its foot (see message-foot.js). Frozen, its text stays as it is. Only with `fold`
   * does the reasoning close by itself: it would move what somebody reads. `named`: who wrote it is said to everybody.
   * `abreast`: so many stand side by side. Returns whether there is more to show.
   */
  update(message, { frozen = false, named = false, abreast = 1, fold = true, ...foot }) {
    const streaming = message.status === "streaming" && !message.ended && !frozen;
    this.node.dataset.id = message.id;
    this.node.dataset.role = message.role;
    this.node.dataset.status = message.status === "streaming" && !streaming ? "complete" : message.status;
    if (abreast > 1) this.node.dataset.abreast = abreast;
    else delete this.node.dataset.abreast;
    this.author.textContent = authorWords(message);
    this.author.classList.toggle("visible", named);
    this.#foot.update(message, foot);
    return !frozen && this.grow(message, fold);
  }

  /** Show how the answer was made, or do so no longer. */
  toggleStats() {
    this.#foot.toggle();
  }

  /** Let the message be edited in its place. `done(text)` is called with null if nothing is to be changed. */
  edit(template, text, { limit, done }) {
    if (this.#editor !== null) return this.#editor.focus();
    const close = (written) => {
      this.#editor.node.remove();
      this.#editor = null;
      delete this.node.dataset.editing;
      done(written);
    };
    this.#editor = new Editor(template, text, { limit, done: close });
    this.node.dataset.editing = "";
    this.body.after(this.#editor.node);
    this.#editor.focus();
  }

  /** What is being written in its place, if that is something else than it was; otherwise null. */
  get draft() {
    return this.#editor?.changed ? this.#editor.text : null;
  }

  /** Show the text that is due by now; nothing else of the message has changed. Whether there is more to show. */
  grow(message, fold) {
    const streaming = message.status === "streaming" && !message.ended;
    this.#reason(message, streaming && !message.text, fold);
    if (this.body.hidden !== !message.text) this.body.hidden = !message.text;
    if (!streaming) {
      if (this.#text !== message.text || this.#pace !== null) {
        this.#pace = null;
        this.#poor = this.#show(message.text, true);
      }
      // What has ended is not in the database before its row says so.
      if (this.#poor && message.status !== "streaming") this.#ask(message);
      return false;
    }
    const now = performance.now();
    // What is there when somebody comes is shown at once.
    this.#pace ??= new Pace(message.text.length);
    const due = still.matches ? message.text.length : this.#pace.advance(message.text.length, now);
    const text = message.text.slice(0, due + (isHigh(message.text.charCodeAt(due - 1)) ? 1 : 0));
    if (text !== this.#text && now >= this.#renderAt) {
      this.#show(text, false);
      const took = performance.now() - now;
      this.#renderAt = now + Math.max(RENDER_PAUSE, RENDER_SHARE * took);
    }
    return this.#text !== message.text;
  }

  async #ask(message) {
    const { text } = message;
    this.#poor = false;
    const html = await this.html(message).catch(() => null);
    if (html !== null && this.#text === text && this.#pace === null) this.#shows.take(html);
  }

  #show(text, done) {
    this.#shows ??= this.node.dataset.role === "assistant" ? answerText(this.body) : new PlainText(this.body);
    this.#text = text;
    return this.#shows.show(text, { done });
  }

  #reason(message, thinking, fold) {
    if (message.reasoning || !this.reasoning.hidden) {
      this.#thoughts.show(message.reasoning);
      this.reasoning.hidden = !message.reasoning;
      const open = this.#opened ?? thinking;
      if (open || fold) this.reasoning.open = open;
      const label = thoughtWords(thinking, message.reasoning_ms);
      if (this.label.textContent !== label) this.label.textContent = label;
    }
  }
}
