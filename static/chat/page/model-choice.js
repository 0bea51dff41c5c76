/** The choice of a model: of the chat that is shown, or of the next new one. */

const LAST = "model";

export class ModelChoice {
  #client;
  #nodes;
  #store;
  #transcript = null;
  /** What there is to choose from, a line each. */
  #offered = "";

  /** `nodes`: choice, select. `store`: get(key), set(key, value). `onchoose(thread, model)`: a chat is to have another. */
  constructor(client, nodes, store, { onchoose }) {
    this.#client = client;
    this.#nodes = nodes;
    this.#store = store;
    const { select } = nodes;
    select.addEventListener("change", () => {
      store.set(LAST, select.value);
      if (this.#transcript !== null) onchoose(this.#transcript.id, select.value);
    });
  }

  /** What a new chat is made with. */
  get chosen() {
    return this.#nodes.select.value;
  }

  /** Show the model of a thread, or (null) the one that was chosen last. */
  show(transcript) {
    this.#transcript = transcript;
    const { choice, select } = this.#nodes;
    const models = this.#client.welcome?.models ?? [];
    const usual = models.includes(this.#store.get(LAST)) ? this.#store.get(LAST) : models[0];
    const chosen = this.#asked ?? (transcript?.row?.model || usual);
    const all = models.includes(chosen) || !chosen ? models : [chosen, ...models];
    choice.hidden = models.length < 2;
    // It may be open: only what is another changes.
    if (all.join("\n") !== this.#offered) select.replaceChildren(...all.map((name) => new Option(name)));
    this.#offered = all.join("\n");
    if (chosen && select.value !== chosen) select.value = chosen;
  }

  /** The model that the thread was to have, where the server has not answered yet. */
  get #asked() {
    const { unanswered } = this.#client.outbox;
    return unanswered.findLast(({ thread, model }) => model && thread === this.#transcript?.id)?.model;
  }
}
