/** What the page says of itself: the connection in words, complaints, and what is announced to screen readers. */

import { ACTIONS, CONNECTED_AGAIN, CONNECTION_LOST, connectionWords, refusalWords, viaWords } from "./words.js";

/** A connection that is made, or made again, within this time needs no words. */
const BLIP = 1_000;
const COMPLAINT = 10_000;

export class Status {
  #client;
  #nodes;
  /** When it began not to be live, and whether it ever was, and whether that was told. */
  #since = Date.now();
  #wasLive = false;
  #toldLost = false;
  #fading = null;

  /** `nodes`: connection, hurry, banner, announcer. `tick()` is called once a second while the page is seen. */
  constructor(client, { tick, ...nodes }) {
    this.#client = client;
    this.#nodes = nodes;
    client.addEventListener("state", (event) => this.#became(event.detail));
    nodes.hurry.addEventListener("click", () => client.connection.wake());
    for (const event of ["online", "offline"]) addEventListener(event, () => this.draw());
    setInterval(() => {
      if (document.visibilityState !== "visible") return;
      this.draw();
      tick();
    }, 1000);
    setTimeout(() => this.draw(), BLIP);
  }

  draw() {
    const { connection: node, hurry } = this.#nodes;
    const { connection, outbox } = this.#client;
    const brief = connection.state.name !== "refused" && !connection.live && Date.now() - this.#since < BLIP;
    if (brief) {
      node.hidden = !this.#wasLive;
      return;
    }
    const { state, words, canHurry } = connectionWords(connection.state, {
      now: Date.now(),
      online: navigator.onLine,
      before: this.#wasLive,
      unsent: outbox.unanswered.some((command) => command.type === "send"),
    });
    node.dataset.state = document.body.dataset.connection = state;
    node.title = viaWords(connection.via);
    if (node.textContent !== words) node.textContent = words;
    node.hidden = false;
    hurry.hidden = !canHurry;
    if (this.#wasLive && ["waiting", "connecting", "offline"].includes(state)) this.#lost();
  }

  /** Say that something did not work; with `again`, offer to try it again. */
  complain(words, again = null, label = ACTIONS.retry) {
    const { banner } = this.#nodes;
    banner.textContent = words;
    if (again !== null) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        banner.hidden = true;
        again();
      });
      banner.append(button);
    }
    banner.hidden = false;
    clearTimeout(this.#fading);
    if (again === null) this.#fading = setTimeout(() => (banner.hidden = true), COMPLAINT);
  }

  /** Another chat is shown: what did not work in the one before is left there. */
  leave() {
    if (this.#client.connection.state.name !== "refused") this.#nodes.banner.hidden = true;
  }

  /** Tell it to who does not see it. */
  announce(words) {
    this.#nodes.announcer.textContent = words;
  }

  #became(state) {
    if (state.name === "live") {
      if (this.#toldLost) this.announce(CONNECTED_AGAIN);
      this.#wasLive = true;
      this.#toldLost = false;
      this.#since = null;
      this.#nodes.banner.hidden = true;
    } else if (this.#since === null) {
      this.#since = Date.now();
      setTimeout(() => this.draw(), BLIP);
    }
    this.draw();
    if (state.name === "refused") {
      const { words, action } = refusalWords(state.code);
      this.complain(words, () => location.reload(), action);
    }
  }

  #lost() {
    if (!this.#toldLost) this.announce(CONNECTION_LOST);
    this.#toldLost = true;
  }
}
