/** A message that is being edited, in its place. */

import { composes } from "./keys.js";
import { sizeWords } from "./words.js";

/** With a keyboard Enter sends; on a phone it makes a new line, as everywhere on a phone. */
export const hasKeyboard = matchMedia("(hover: hover) and (pointer: fine)");

export class Editor {
  #form;
  #input;
  #before;

  /** `limit`: bytes of the longest message. Calls `done(text)`, or `done(null)` if nothing is to be changed. */
  constructor(template, text, { limit, done }) {
    this.#form = template.content.firstElementChild.cloneNode(true);
    this.#input = this.#form.querySelector("textarea");
    this.#input.value = this.#before = text;
    const hint = this.#form.querySelector(".hint");
    const save = this.#form.querySelector('[type="submit"]');
    const judge = () => {
      const { words, wrong } = sizeWords(this.text, limit);
      hint.textContent = words;
      hint.dataset.state = wrong ? "wrong" : "";
      save.disabled = wrong || !this.text;
      fit(this.#input);
    };
    this.#input.addEventListener("input", judge);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!save.disabled) done(this.changed ? this.text : null);
    });
    this.#form.querySelector(".cancel").addEventListener("click", () => done(null));
    this.#form.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      const sends = event.key === "Enter" && !event.shiftKey && event.target === this.#input && hasKeyboard.matches;
      if (!sends && event.key !== "Escape") return;
      event.preventDefault(); // and so nobody takes this Escape for a stop
      if (sends) this.#form.requestSubmit();
      else done(null);
    });
    judge();
  }

  get node() {
    return this.#form;
  }

  /** Whether it is something else than before. */
  get changed() {
    return this.text !== this.#before.trim();
  }

  /** What is written. */
  get text() {
    return this.#input.value.trim();
  }

  /** To be called when it is on the page. */
  focus() {
    fit(this.#input);
    this.#input.focus({ preventScroll: true });
    this.#input.setSelectionRange(this.#input.value.length, this.#input.value.length);
    this.#form.scrollIntoView({ block: "nearest" });
  }
}

/** Make a box as high as what is in it, where the browser does not do so by itself. */
export function fit(input) {
  if (CSS.supports("field-sizing", "content")) return;
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}
