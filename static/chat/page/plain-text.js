/**
 * Shows text as it is, in blocks of some lines, of which only the last ever changes: what is appended to one long text
 * node costs as much as all that is in it.
 */

/** Characters after which a block ends with its line. */
const BLOCK = 1000;

export class PlainText {
  #node;
  #shown = null;

  constructor(node) {
    this.#node = node;
  }

  /** Show this text, as a rule what was shown before and more. There is nothing to colour in it. */
  show(text) {
    const goesOn = this.#shown !== null && text.startsWith(this.#shown);
    if (!goesOn) this.#node.replaceChildren();
    this.#append(goesOn ? text.slice(this.#shown.length) : text);
    this.#shown = text;
  }

  #append(text) {
    for (let rest = text; rest; ) {
      let last = this.#node.lastElementChild?.firstChild;
      if (!last || (last.length >= BLOCK && last.data.endsWith("\n"))) {
        last = this.#node.appendChild(document.createElement("div")).appendChild(new Text());
      }
      const end = rest.indexOf("\n", Math.max(0, BLOCK - last.length)) + 1 || rest.length;
      last.appendData(rest.slice(0, end));
      rest = rest.slice(end);
    }
  }
}
