/**
 * The Markdown of answers, as HTML. `chat/markdown.py` makes the same of it for the first paint; tests/markdown holds
 * the two together. Nothing that comes out runs or loads anything: no HTML of the text's own, no images, and links to
 * the web and to mail only.
 */

import MarkdownIt from "markdown-it";

import { nothing, reach } from "./reach.js";

const LINK = /^(https?:|mailto:)/i;
/** The page's own headings are the first two. */
const HEADINGS_BELOW = 2;
/**
 * Of a whole text. What comes after so many is shown as it is: parsing takes time that grows with their square. For each
 * bracket, and for each `//` of an address, its paragraph is looked at: so many characters in all. Who parses a text in
 * parts hands on what the environment has as `counted`.
 */
const MOST_MARKS = 10_000;
const MOST_LOOKED_AT = 2_000_000;
/** Levels, of which a list has two. What is nested deeper is a paragraph: each level may look at all lines below it. */
const DEEPEST = 20;
/** What the server's parser takes for white space at the ends of a paragraph; this one leaves some of it. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const EDGES = new RegExp(`^${SPACE}|${SPACE}$`, "g");

export function parser() {
  const markdown = new MarkdownIt({ html: false, linkify: true });
  // "README.md" is no address, although .md is a country's.
  markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
  markdown.validateLink = (url) => LINK.test(url);
  const paragraph = markdown.block.ruler.getRules("").at(-1);
  markdown.block.ruler.before("table", "deep", (state, ...how) => state.level >= DEEPEST && paragraph(state, ...how));
  markdown.core.ruler.before("block", "shortened", shorten);
  markdown.core.ruler.after("block", "rest", addRest);
  markdown.core.ruler.before("inline", "bounded", bound);
  markdown.core.ruler.push("guarded", guard);
  markdown.renderer.rules.fence = (tokens, index) => codeBlock(tokens[index], language(tokens[index].info));
  markdown.renderer.rules.code_block = (tokens, index) => codeBlock(tokens[index], "");
  markdown.renderer.rules.table_open = (tokens, index, options, env, renderer) =>
    `<div class="table" tabindex="0"${renderer.renderAttrs(tokens[index])}><table>\n`;
  markdown.renderer.rules.table_close = () => "</table></div>\n";
  return markdown;

  function codeBlock(token, name) {
    const label = name ? `<p class="language">${markdown.utils.escapeHtml(name)}</p>` : "";
    const code = markdown.utils.escapeHtml(token.content);
    return `<div class="code" dir="ltr">${label}<pre tabindex="0"><code>${code}</code></pre></div>\n`;
  }

  function language(info) {
    return markdown.utils.unescapeAll(info).trim().split(/\s+/)[0];
  }
}

function shorten(state) {
  const counted = (state.env.counted ??= nothing());
  const until = reach(state.src, counted);
  state.env.rest = state.src.slice(until);
  state.src = state.src.slice(0, until);
  counted.text += until;
  counted.lines += state.src.split("\n").length - 1;
}

function addRest(state) {
  if (state.env.rest === "") return;
  const rest = new state.Token("code_block", "code", 0);
  rest.content = state.env.rest;
  state.tokens.push(rest);
}

function bound(state) {
  const counted = state.env.counted;
  for (const token of state.tokens) {
    if (token.type !== "inline") continue;
    token.content = token.content.replace(EDGES, "");
    counted.marks += token.content.split(/[*_~`]/).length - 1;
    const looks = token.content.split(/\[|\/\//).length - 1;
    if (looks > 0) counted.lookedAt += looks * [...token.content].length;
    if (counted.marks > MOST_MARKS || counted.lookedAt > MOST_LOOKED_AT) token.type = "text";
  }
}

/**
 * Links leave the page and take nothing along, images become links, headings go below the page's own. Each outermost
 * block is written in the direction of its first letter. Columns are aligned by classes: the page allows no styles.
 */
function guard(state) {
  for (const token of state.tokens) {
    if (token.level === 0 && token.nesting === 1) token.attrSet("dir", "auto");
    if (token.attrGet("style")) token.attrs = [["class", token.attrGet("style").replace("text-align:", "")]];
    if (token.type === "heading_open" || token.type === "heading_close") {
      token.tag = `h${Math.min(6, Number(token.tag[1]) + HEADINGS_BELOW)}`;
    }
    if (token.type === "inline") token.children = guardInline(token.children, state.Token);
  }
}

function guardInline(tokens, Token) {
  let links = 0;
  return tokens.flatMap((token) => {
    if (token.type === "link_open") {
      links++;
      leave(token);
    } else if (token.type === "link_close") {
      links--;
    } else if (token.type === "image") {
      const text = new Token("text", "", 0);
      text.content = token.content || token.attrGet("src");
      if (links > 0 || !token.attrGet("src")) return [text];
      const open = new Token("link_open", "a", 1);
      open.attrSet("href", token.attrGet("src"));
      leave(open);
      return [open, text, new Token("link_close", "a", -1)];
    }
    return [token];
  });
}

function leave(link) {
  link.attrSet("target", "_blank");
  link.attrSet("rel", "noopener noreferrer nofollow");
}
