/**
 * Markdown that grows, as HTML: what is finished is made once, only the last block again and again.
 *
 * A block is finished when, judged on complete lines, another one has begun after it. What a later line can still change
 * about an earlier block (a link's address that is given at the end) shows when the answer is complete, and where there
 * may be such a thing it is rendered once more as a whole. Inside a long piece of code that is still open nothing is parsed at all: lines are appended.
 */

import { nothing, reach, startOfLine } from "./reach.js";

const FENCE = /^(`{3,}|~{3,})[^\n]*\n/;

export class Blocks {
  #parser;
  /** What the parser knows of what is finished: link addresses, and how much of everything there was. */
  #known = { references: {}, counted: nothing() };
  /** Up to where the text is finished. */
  #finished = 0;
  /** Up to where it was looked for finished blocks. */
  #judged = 0;
  /** The open piece of code that is last: its closing line, and up to where it is on the screen. */
  #fence = null;
  /** Whether what comes now is shown as it is, for there was so much before. */
  #full = false;

  constructor(parser) {
    this.#parser = parser;
  }

  /**
   * The text is now this, and began with what it was before. Returns `finished`: the HTML of the blocks that have
   * finished since, or ""; either `last`: the HTML of what comes after them, instead of what it was, or `code`: text to
   * append to the code that is last; and `held`: how many characters at the end are in neither yet.
   */
  update(source) {
    const text = normal(source);
    const finished = this.#advance(text);
    if (finished === "" && this.#fence !== null) {
      const code = this.#goOn(text);
      if (code !== null) return { finished, code, held: text.length - this.#fence.shown };
    }
    const rest = text.slice(this.#finished);
    this.#fence = this.#full ? { ...ENDLESS } : openFence(rest);
    if (this.#fence === null) return { finished, last: this.#render(rest), held: 0 };
    const until = this.#fence.until(rest);
    this.#fence.shown = this.#finished + until;
    return { finished, last: this.#render(rest.slice(0, until)), held: rest.length - until };
  }

  /**
   * The text is complete: it began with what `update` got. Returns `{finished, last}` as `update` does, or null where
   * addresses that are given in it may have changed what was finished before: then all of it is to be rendered anew.
   */
  finish(source) {
    const text = normal(source);
    this.#fence = null;
    const finished = this.#advance(text);
    const known = this.#copy();
    const last = this.#parser.render(text.slice(this.#finished), known);
    return Object.keys(known.references).length > 0 ? null : { finished, last };
  }

  #render(text) {
    return this.#parser.render(text, this.#copy());
  }

  /** For what is not finished: it may become something else. */
  #copy() {
    const { references, counted } = this.#known;
    return { references: { ...references }, counted: { ...counted } };
  }

  #advance(text) {
    const lines = text.lastIndexOf("\n") + 1;
    if (lines <= this.#judged || this.#full) return "";
    if (this.#fence !== null && !this.#fence.closedIn(text, this.#fence.shown)) return "";
    this.#judged = lines;
    const rest = text.slice(this.#finished, lines);
    const until = reach(rest, this.#known.counted);
    this.#full = until < rest.length;
    if (this.#full) return this.#finish(rest, until);
    // Where blocks begin does not depend on what is in them.
    const tokens = [];
    this.#parser.block.parse(rest, this.#parser, this.#copy(), tokens);
    const last = tokens.findLast((token) => token.level === 0 && token.map !== null);
    if (last === undefined || last.map[0] === 0) return "";
    return this.#finish(rest, startOfLine(rest, last.map[0]));
  }

  #finish(rest, end) {
    const html = this.#parser.render(rest.slice(0, end), this.#known);
    this.#finished += end;
    return html;
  }

  /** What an open piece of code goes on with, or null where it may have ended. */
  #goOn(text) {
    const { shown } = this.#fence;
    if (this.#fence.closedIn(text, shown)) return null;
    const rest = text.slice(this.#finished);
    const until = this.#finished + this.#fence.until(rest);
    if (until < shown) return null;
    this.#fence.shown = until;
    return text.slice(shown, until);
  }
}

/** A piece of code that nothing closes. */
const ENDLESS = { shown: 0, closedIn: () => false, until: (rest) => rest.length };

function normal(text) {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

/** The open fence that the whole text is in, if it is in one. One that is indented is left to the parser. */
function openFence(text) {
  const opening = FENCE.exec(text);
  if (opening === null || (opening[1][0] === "`" && opening[0].includes("`", opening[1].length))) return null;
  const mark = opening[1];
  const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*$`, "m");
  const partly = new RegExp(`^ {0,3}${mark[0]}*[ \\t]*$`);
  if (closing.test(text.slice(opening[0].length))) return null;
  return {
    shown: 0,
    /** Whether a complete line that begins at or after the one at `from` closes it. */
    closedIn: (whole, from) => closing.test(whole.slice(whole.lastIndexOf("\n", from - 1) + 1)),
    /** Up to where the text is code for sure: a last line that may become the closing one is held back. */
    until: (rest) => {
      const line = rest.lastIndexOf("\n") + 1;
      return partly.test(rest.slice(line)) ? line : rest.length;
    },
  };
}
