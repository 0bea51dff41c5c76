/** The box to write in: keys, size, the draft of each thread, and the choice of a model. */

import { fit, hasKeyboard } from "./editor.js";
import { composes } from "./keys.js";
import { sizeWords } from "./words.js";

export class Composer {
  #nodes;
  #store;
  #key = null;
  /** What this page has last read or written of the draft, and whether somebody wrote in it. Other pages may, too. */
  #known = "";
  #written = false;
  #limit = Infinity;
  #busy = false;

  /**
   * `nodes`: form, input, send, interrupt, stop, hint. `store`: get(key), set(key, value). `onsend(text, {now})`, `now`:
   * without waiting for the answer that is being written; `onstop()`, `onedit()` (the last thing that was said).
   */
  constructor(nodes, store, { onsend, onstop, onedit }) {
    this.#nodes = nodes;
    this.#store = store;
    this.onsend = onsend;
    const { form, input, interrupt, stop } = nodes;
    input.enterKeyHint = hasKeyboard.matches ? "send" : "enter";
    input.addEventListener("input", () => this.#changed());
    input.addEventListener("keydown", (event) => {
      if (composes(event)) return;
      const now = event.ctrlKey || event.metaKey;
      if (event.key === "ArrowUp" && !input.value) {
        event.preventDefault();
        onedit();
      } else if (event.key === "Enter" && !event.shiftKey && (now || hasKeyboard.matches)) {
        event.preventDefault();
        this.#submit(now);
      }
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("click", (event) => {
      if (event.target === form) input.focus();
    });
    stop.addEventListener("click", () => onstop());
    interrupt.addEventListener("click", () => this.#submit(true));
    // Pressing a button leaves the focus, and a phone's keyboard, where they are.
    for (const button of [stop, interrupt, nodes.send]) button.addEventListener("mousedown", (event) => event.preventDefault());
  }

  /** The thread (or "new") whose draft is written from now on. */
  open(key) {
    this.keep();
    this.#key = `draft:${key}`;
    this.#known = this.#store.get(this.#key) ?? "";
    this.#written = false;
    this.#write(this.#known);
  }

  /** The page goes away, or out of sight: what stands in the box is kept, whatever another page has written since. */
  keep() {
    if (this.#written && this.#nodes.input.value) this.#remember(this.#nodes.input.value);
  }

  /** The thread is deleted, and its draft with it. */
  forget(thread) {
    this.#store.set(`draft:${thread}`, "");
  }

  /** Put text back that was written before in a thread, in front of what is there. */
  give(key, text) {
    const place = `draft:${key}`;
    const isShown = place === this.#key;
    const there = isShown ? this.#nodes.input.value : this.#store.get(place);
    const both = there?.trim() ? `${text}\n${there}` : text;
    if (!isShown) return void this.#store.set(place, both);
    this.#remember(both);
    this.#write(both);
    this.focus();
  }

  /** To the end of what is written; not on a phone, where a keyboard would come up. */
  focus() {
    if (hasKeyboard.matches) this.#nodes.input.focus({ preventScroll: true });
  }

  /** Whether an answer can be stopped. */
  set busy(busy) {
    this.#busy = busy;
    this.#judge();
  }

  /** Bytes of the longest message. */
  set limit(bytes) {
    this.#limit = bytes;
    this.#judge();
  }

  #submit(now = false) {
    const text = this.#nodes.input.value.trim();
    if (!text || this.#nodes.send.disabled) return;
    this.#write("");
    // A draft that another page has written there since is none of what is sent.
    if ((this.#store.get(this.#key) ?? "") === this.#known) this.#remember("");
    this.#written = false;
    this.onsend(text, { now: now && this.#busy });
  }

  #write(text) {
    const { input } = this.#nodes;
    input.value = text;
    input.setSelectionRange(text.length, text.length);
    fit(this.#nodes.input);
    this.#judge();
  }

  #remember(text) {
    this.#store.set(this.#key, text);
    this.#known = text;
    this.#written = true;
  }

  #changed() {
    this.#remember(this.#nodes.input.value);
    fit(this.#nodes.input);
    this.#judge();
  }

  #judge() {
    const { input, send, stop, interrupt, hint } = this.#nodes;
    const text = input.value.trim();
    const { words, wrong } = sizeWords(text, this.#limit);
    const pressed = [send, stop, interrupt].find((button) => button === document.activeElement);
    if (hint.textContent !== words) hint.textContent = words;
    hint.dataset.state = wrong ? "wrong" : "";
    send.disabled = !text || wrong;
    interrupt.hidden = !this.#busy || send.disabled;
    stop.hidden = !this.#busy;
    // Who has pressed a button by its key goes on in the box.
    if (pressed?.hidden || pressed?.disabled) input.focus({ preventScroll: true });
  }
}
