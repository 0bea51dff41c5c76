/** Lengths of the protocol count Unicode code points; JavaScript's strings count UTF-16 units. */

/** Whether a UTF-16 unit is the first half of a pair. */
export const isHigh = (unit) => (unit & 0xfc00) === 0xd800;
const isLow = (unit) => (unit & 0xfc00) === 0xdc00;

/** The number of code points. */
export function length(text) {
  let pairs = 0;
  for (let i = 1; i < text.length; i++) {
    if (isLow(text.charCodeAt(i)) && isHigh(text.charCodeAt(i - 1))) pairs++;
  }
  return text.length - pairs;
}

/** The first `count` code points; the text itself if it has no more. */
export function prefix(text, count) {
  if (count >= text.length) return text;
  let end = 0;
  for (let left = count; left > 0 && end < text.length; left--) {
    end += isHigh(text.charCodeAt(end)) && isLow(text.charCodeAt(end + 1)) ? 2 : 1;
  }
  return text.slice(0, end);
}
