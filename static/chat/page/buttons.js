/** The buttons for what can be done with a message. Clicks are handled where `data-do` is looked for. */

import { arrange } from "./arrange.js";
import { ACTIONS } from "./words.js";

const ICONS = {
  continue: "play",
  copy: "copy",
  edit: "edit",
  regenerate: "again",
  resend: "again",
  retry: "again",
  sendnow: "send",
  show: "down",
  stats: "info",
  takeback: "close",
  unqueue: "close",
};

/** A button that says what it does. */
export function actionButton(name) {
  const button = iconed(name);
  button.append(ACTIONS[name]);
  return button;
}

/** A button that is an icon. */
export function toolButton(name) {
  const button = iconed(name);
  button.className = "tool";
  button.title = ACTIONS[name];
  button.setAttribute("aria-label", ACTIONS[name]);
  return button;
}

/** Have buttons of these names in here, in this order. Those that stay are left as they are, and so is the focus. */
export function arrangeButtons(parent, names, make) {
  const there = new Map([...parent.children].map((button) => [button.dataset.do, button]));
  arrange(parent, names.map((name) => there.get(name) ?? make(name)));
}

function iconed(name) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.do = name;
  button.innerHTML = `<svg class="icon" aria-hidden="true"><use href="#icon-${ICONS[name]}"/></svg>`;
  return button;
}
