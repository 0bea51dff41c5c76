/** The dialog for a chat's instructions: its system prompt. Those of a chat that is not there yet are kept for it. */

import { composes } from "./keys.js";

const NEW = "instructions:new";

export class Instructions {
  #nodes;
  #store;
  #transcript = null;

  /** `nodes`: dialog, input. `store`: get(key), set(key, value). `onsave(thread, words)`. */
  constructor(nodes, store, { onsave }) {
    this.#nodes = nodes;
    this.#store = store;
    const { dialog, input } = nodes;
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "save") return;
      const words = input.value.trim();
      if (this.#transcript === null) store.set(NEW, words);
      else if (words !== this.#there) onsave(this.#transcript.id, words);
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || composes(event)) return;
      event.preventDefault();
      dialog.close("save");
    });
  }

  /** Ask for the instructions of a thread, or (null) of the next new one. */
  open(transcript) {
    const { dialog, input } = this.#nodes;
    this.#transcript = transcript;
    input.value = this.#there;
    dialog.returnValue = "";
    dialog.showModal();
    input.focus();
  }

  /** What a new thread is made with. */
  take() {
    const words = this.#store.get(NEW);
    this.#store.set(NEW, "");
    return words ? { system_prompt: words } : {};
  }

  get #there() {
    return (this.#transcript === null ? this.#store.get(NEW) : this.#transcript.row?.system_prompt) ?? "";
  }
}
