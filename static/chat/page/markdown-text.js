/**
 * Shows an answer's Markdown, block by block while it grows.
 *
 * The server has made the same HTML for the first paint, and goes on being asked for what only it can do: colours, and
 * all of it where the package that parses Markdown is missing. There, an answer is plain text while it grows.
 */

import { length } from "../client/text.js";
import { Blocks } from "../markdown/blocks.js";
import { addButtons } from "./code.js";
import { morph, morphing } from "./morph.js";
import { PlainText } from "./plain-text.js";

/** Blocks that get their colours in one frame. */
const AT_ONCE = 10;

let markdown = null;
try {
  markdown = (await import("../markdown/parser.js")).parser();
} catch {
  // manage.py check warns.
}

/** Shows answers in `node`, which has what the server has made, or nothing. */
export function answerText(node) {
  return markdown === null ? new BareText(node) : new MarkdownText(node);
}

/** What both ways of showing an answer have in common. They have `draw(text, done)`, `poor` (see `show`) and `take(html)`,
 * which shows the server's HTML of the text that is shown. */
class AnswerText {
  /** Characters at the end of the text that are not on the screen yet. */
  held = 0;
  /** The block that the answer goes on with, which has the cursor. */
  #last = null;

  constructor(node) {
    this.node = node;
    addButtons(node);
  }

  /**
   * Show this text, as a rule what was shown before and more; `done`: it is complete. Returns whether the server's HTML
   * of it would be better than what is there now.
   */
  show(text, { done }) {
    // The server says of how much text it has made what is there.
    const isThere = done && this.node.dataset.length === String(length(text));
    delete this.node.dataset.length;
    if (isThere) return false;
    this.held = 0;
    this.#last?.removeAttribute("data-growing");
    this.draw(text, done);
    this.#last = done ? null : this.node.lastElementChild;
    this.#last?.setAttribute("data-growing", "");
    return done && this.poor;
  }
}

class MarkdownText extends AnswerText {
  #shown = "";
  /** While it grows: its blocks, and the last node of those that are finished. */
  #blocks = null;
  #finished = null;
  /** The steps from what is shown to the server's HTML, while they are being taken. */
  #steps = null;

  draw(text, done) {
    this.#steps = null;
    this.node.classList.add("markdown");
    if (done) this.#whole(text);
    else this.#grow(text);
    this.#shown = text;
  }

  /** Only the server has colours. */
  get poor() {
    return this.node.querySelector(".code .language") !== null;
  }

  /** Show the server's HTML of the text that is shown: some blocks in each frame, as all of them could take too long. */
  take(html) {
    const steps = morphing(this.node, null, fragment(html));
    const go = () => {
      if (this.#steps !== steps) return;
      for (let left = AT_ONCE; left > 0; left--) if (steps.next().done) return;
      requestAnimationFrame(go);
    };
    this.#steps = steps;
    go();
  }

  #whole(text) {
    const rest = this.#goesOn(text) ? this.#blocks.finish(text) : null;
    if (rest === null) morph(this.node, null, fragment(markdown.render(text)));
    else this.#add(rest);
    this.#blocks = null;
  }

  #grow(text) {
    if (!this.#goesOn(text)) {
      this.#blocks = new Blocks(markdown);
      this.#finished = null;
    }
    const { code, held, ...rest } = this.#blocks.update(text);
    this.held = held;
    if (code !== undefined) this.node.lastElementChild.querySelector("code").append(code);
    else this.#add(rest);
  }

  /** Whether it is what is shown and more. */
  #goesOn(text) {
    return this.#blocks !== null && text.startsWith(this.#shown);
  }

  /** Put the blocks that have finished, and what comes after them, behind those that had. */
  #add({ finished, last }) {
    const wanted = fragment(finished);
    const count = wanted.childNodes.length;
    wanted.append(fragment(last));
    morph(this.node, this.#finished, wanted);
    for (let left = count; left > 0; left--) {
      this.#finished = this.#finished === null ? this.node.firstChild : this.#finished.nextSibling;
    }
  }
}

class BareText extends AnswerText {
  #plain = null;

  draw(text) {
    this.node.classList.remove("markdown");
    this.#plain ??= new PlainText(this.node);
    this.#plain.show(text);
  }

  /** Only the server has any formatting. */
  get poor() {
    return true;
  }

  take(html) {
    this.node.classList.add("markdown");
    morph(this.node, null, fragment(html));
    this.#plain = null;
  }
}

/** Nodes of HTML that our own parser or server has made, with the buttons that belong to them. */
function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  addButtons(template.content);
  return template.content;
}
