/** Copying, and saying on the button that it was done. */

import { COPYING } from "./words.js";

const SAID = 1_500;

/** Put text into the clipboard. The button says for a moment whether that worked; returns what it says. */
export async function copy(button, text) {
  const said = (await write(text)) ? COPYING.copied : COPYING.failed;
  button.dataset.said = said;
  setTimeout(() => delete button.dataset.said, SAID);
  return said;
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return writeOldStyle(text);
  }
}

/** Without https there is no clipboard to write to but by a selection. */
function writeOldStyle(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return done;
}
