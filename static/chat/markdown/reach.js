/** How much of a text is parsed as Markdown: chat/markdown.py has the same numbers. */

const MOST_TEXT = 200_000;
const MOST_LINES = 10_000;

/** What was counted of a text, before any of it. */
export function nothing() {
  return { text: 0, lines: 0, marks: 0, lookedAt: 0 };
}

/** Up to where this part of a text is parsed, before which so much was: a line's beginning, or all of it. */
export function reach(part, counted) {
  const most = Math.min(MOST_TEXT - counted.text, startOfLine(part, MOST_LINES - counted.lines));
  return most >= part.length ? part.length : part.slice(0, most).lastIndexOf("\n") + 1;
}

/** Where a line begins, Infinity if there are not so many. */
export function startOfLine(text, line) {
  let at = 0;
  for (; line > 0; line--) {
    const end = text.indexOf("\n", at);
    if (end === -1) return Infinity;
    at = end + 1;
  }
  return at;
}
