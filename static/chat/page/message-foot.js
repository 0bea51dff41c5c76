/** What stands below a message: how it ended, what can be done, which version it is, when it was, how it was made. */

import { actionButton, arrangeButtons, toolButton } from "./buttons.js";
import { ACTIONS, statistics, timeWords, versionsOf } from "./words.js";

export class MessageFoot {
  #nodes;
  #drawn = "";
  #open = false;
  #known = null;

  /** `node`: the message's element. */
  constructor(node) {
    const names = ["foot", "note", "actions", "row-of-tools", "versions", "previous", "count", "next", "icons", "time", "stats"];
    this.#nodes = Object.fromEntries(names.map((name) => [name, node.querySelector(`.${name}`)]));
  }

  /**
   * `foot` as `words.js` has it; `wanted`: the version that was chosen and is not there yet; `run`: the message's own.
   */
  update(message, { foot: { note, wrong = false, actions, tools }, run, wanted }) {
    const { note: said, time, stats } = this.#nodes;
    if (message.role === "user") this.#turn();
    if (said.textContent !== note) said.textContent = note;
    said.hidden = !note;
    said.classList.toggle("danger", wrong);
    this.#known = tools.includes("stats") ? statistics(message, run) : null;
    const versions = versionsOf(message, wanted);
    const drawn = JSON.stringify([actions, tools, versions, message.created_at, this.#known]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    arrangeButtons(this.#nodes.actions, actions, actionButton);
    arrangeButtons(this.#nodes.icons, tools, toolButton);
    this.#nodes.icons.querySelector('[data-do="stats"]')?.setAttribute("aria-expanded", String(this.#open));
    this.#draw(versions);
    time.hidden = !message.created_at;
    if (message.created_at) {
      const { short, exact } = timeWords(message.created_at, Date.now());
      time.textContent = short;
      time.title = exact;
      time.dateTime = message.created_at;
    }
    if (this.#known === null) stats.hidden = true;
    else if (this.#open) this.#tell();
  }

  /** Show how the answer was made, or do so no longer. */
  toggle() {
    this.#open = !this.#open;
    this.#nodes.icons.querySelector('[data-do="stats"]')?.setAttribute("aria-expanded", String(this.#open));
    if (this.#open) this.#tell();
    else this.#nodes.stats.hidden = true;
  }

  /** Below what the user said it is all the other way round to the eye (message.css); and so it is to the keyboard. */
  #turn() {
    const { foot, "row-of-tools": row, versions, icons, time } = this.#nodes;
    if (row === foot.firstElementChild) return;
    foot.prepend(row);
    row.append(time, icons, versions);
  }

  #draw(versions) {
    const { versions: group, previous, count, next } = this.#nodes;
    group.hidden = versions === null;
    if (versions === null) return;
    count.textContent = versions.words;
    for (const [button, name] of [[previous, "previous"], [next, "next"]]) {
      button.hidden = false;
      button.title = ACTIONS[name];
      button.setAttribute("aria-label", ACTIONS[name]);
      button.dataset.to = versions[name] ?? "";
      // Not disabled: that would take the focus away from who has come to the end by keyboard.
      button.setAttribute("aria-disabled", String(versions[name] === null));
    }
  }

  #tell() {
    const { stats } = this.#nodes;
    stats.hidden = false;
    stats.replaceChildren(
      ...this.#known.map(([name, value]) => {
        const pair = document.createElement("div");
        pair.append(element("dt", name), element("dd", value));
        return pair;
      }),
    );
  }
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
