import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { Blocks } from "../../static/chat/markdown/blocks.js";
import { BOUND, Pace } from "../../static/chat/markdown/pace.js";
import { parser } from "../../static/chat/markdown/parser.js";

const folder = new URL("../markdown/documents/", import.meta.url);
const documents = readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder), "utf8")]);
const markdown = parser();
const escape = (text) => markdown.utils.escapeHtml(text);
const CODE_END = "</code></pre></div>\n";

/** What a page that does as `Blocks` says has on the screen. */
class Screen {
  finished = "";
  last = "";
  blocks = new Blocks(markdown);

  show(text) {
    const { finished, last, code, held } = this.blocks.update(text);
    this.held = held;
    this.finished += finished;
    if (code === undefined) {
      this.last = last;
    } else {
      assert.ok(this.last.endsWith(CODE_END));
      this.last = this.last.slice(0, -CODE_END.length) + escape(code) + CODE_END;
    }
    return this.finished + this.last;
  }

  /** The HTML of the complete text, or null if it has to be made anew. */
  finish(text) {
    const rest = this.blocks.finish(text);
    return rest && this.finished + rest.finished + rest.last;
  }
}

/** The parser, which counts how often it is used. */
class Counting {
  parsed = 0;
  block = { parse: (text, _, ...rest) => (this.parsed++, markdown.block.parse(text, markdown, ...rest)) };
  render = (text, environment) => (this.parsed++, markdown.render(text, environment));
}

/** The opening tags of a text's outermost elements. */
function outermost(html) {
  const found = [];
  let depth = 0;
  for (const [tag, end, name] of html.matchAll(/<(\/?)(\w+)[^>]*>/g)) {
    if (end) depth--;
    else if (depth === 0) found.push(tag);
    if (!end && !["br", "hr"].includes(name)) depth++;
  }
  return found;
}

/** A repeatable source of chance. */
function* chance(seed) {
  for (let state = seed; ; ) {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    yield state / 2 ** 31;
  }
}

function random(source, below) {
  return Math.floor(source.next().value * below);
}

/** Without definitions, which may change what is before them. */
const settled = documents.filter(([, text]) => !/^\[[^\]]*\]:/m.test(text));

for (const [name, text] of settled) {
  test(`${name} has the same HTML as a whole, line by line`, () => {
    const screen = new Screen();
    let html = "";
    for (const line of text.split(/(?<=\n)/)) html = screen.show((screen.text = (screen.text ?? "") + line));
    assert.equal(html || markdown.render(text), markdown.render(text));
  });
}

test("documents in any order and any pieces have the same HTML as a whole at each end of a line", () => {
  const source = chance(7);
  for (let round = 0; round < 300; round++) {
    const text = Array.from({ length: 1 + random(source, 4) }, () => settled[random(source, settled.length)][1])
      .join("\n")
      .replace(/\r\n?/g, "\n");
    const screen = new Screen();
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + random(source, 40));
      const shown = text.slice(0, at);
      const html = screen.show(shown);
      if (shown.endsWith("\n")) assert.equal(html, markdown.render(shown), JSON.stringify(shown.slice(-200)));
    }
  }
});

/** Lines of all documents, in an order that nobody would write them in. */
function soup(source) {
  const lines = documents.flatMap(([, text]) => text.split(/(?<=\n)/));
  return Array.from({ length: 5 + random(source, 40) }, () => lines[random(source, lines.length)]).join("");
}

test("a block that another has followed stays the element that it is, wherever a line is cut in the making", () => {
  const source = chance(11);
  for (let round = 0; round < 600; round++) {
    const text = soup(source);
    const stride = 1 + random(source, 30);
    const screen = new Screen();
    let before = [];
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + random(source, stride));
      const now = outermost(at < text.length ? screen.show(text.slice(0, at)) : markdown.render(text));
      const kept = Math.max(0, before.length - 1);
      assert.deepEqual(now.slice(0, kept), before.slice(0, kept), JSON.stringify(text.slice(0, at).slice(-300)));
      before = now;
    }
  }
});

test("when a text is complete, its blocks are its HTML as a whole, or it is known that they may not be", () => {
  const source = chance(5);
  let anew = 0;
  for (let round = 0; round < 600; round++) {
    const text = round < documents.length ? documents[round][1] : soup(source);
    const screen = new Screen();
    for (let at = 0; at < text.length; at += 1 + random(source, 60)) screen.show(text.slice(0, at));
    const html = screen.finish(text);
    if (html !== null) assert.equal(html, markdown.render(text), JSON.stringify(text));
    else if (!/\]:/.test(text)) assert.fail(`nothing is defined in ${JSON.stringify(text)}`);
    else anew++;
  }
  assert.ok(anew > 0 && anew < 300);
});

test("blocks know how many marks there were before them: too many are shown as they are", () => {
  const screen = new Screen();
  const text = "*a* _b_ [c]\n\n".repeat(3000);
  for (let at = 0; at < text.length; at += 1000) screen.show(text.slice(0, at));
  const html = screen.finish(text);
  assert.equal(html, markdown.render(text));
  assert.ok(html.endsWith(">\n*a* _b_ [c]</p>\n"));
});

/** Texts of which only a part is parsed, and where what is left as it is begins. */
const long = [
  ["*a* b\nc\n\n".repeat(4000), 1],
  [`- *a* ${"b".repeat(90)}\n`.repeat(2500), 1],
  [`*a* ${"b".repeat(190_000)}\n${"*c* ".repeat(9000)}\n\n*d*\n`, 1],
  [`*a*\n\n\`\`\`\n${"x = 1\n".repeat(12_000)}\`\`\`\n\n*b*\n`, 2],
  ["*a* ".repeat(60_000), 1],
  ["x\n\n".repeat(4990) + "*a*\n".repeat(30), 1],
];

for (const [text, pieces] of long) {
  test(`of a long text the rest is shown as it is, also while it grows: ${JSON.stringify(text.slice(0, 12))}`, () => {
    const source = chance(13);
    const screen = new Screen();
    for (let at = 0; at < text.length; ) {
      at = Math.min(text.length, at + 1 + random(source, text.length / 50));
      screen.show(text.slice(0, at));
    }
    assert.equal(screen.finish(text), markdown.render(text));
    assert.equal(markdown.render(text).split("<pre").length - 1, pieces);
  });
}

test("what comes after the longest text that is parsed is appended, and nothing is parsed again", () => {
  const counting = new Counting();
  const blocks = new Blocks(counting);
  let text = "*a*\n\n".repeat(6000);
  blocks.update(text);
  counting.parsed = 0;
  for (let line = 0; line < 100; line++) assert.equal(blocks.update((text += `*${line}*\n`)).code, `*${line}*\n`);
  assert.equal(counting.parsed, 0);
});

test("a hostile text has none but harmless tags, at any moment of its growing", () => {
  const kinds = JSON.parse(readFileSync(new URL("../hostile.json", folder), "utf8"));
  const attribute = `(dir="(auto|ltr)"|tabindex="0"|start="\\d+"|class="(code|language|table|left|center|right)"|title="[^"<>]*"`
    + `|href="(https?|mailto):[^"<>]*"|target="_blank"|rel="noopener noreferrer nofollow")`;
  const names = "p|br|hr|em|strong|s|code|pre|blockquote|ul|ol|li|h[3-6]|a|div|table|thead|tbody|tr|th|td";
  const harmless = new RegExp(`</?(${names})( ${attribute})*>`, "gi");
  for (const text of Object.values(kinds).flat()) {
    const screen = new Screen();
    for (let at = 1; at <= text.length; at++) {
      const left = screen.show(text.slice(0, at)).replaceAll(harmless, "");
      assert.ok(!/[<>]/.test(left), `${text.slice(0, at)}: ${left}`);
    }
  }
});

test("what is finished is never made again", () => {
  const rendered = [];
  const counting = {
    block: { parse: (text, _, ...rest) => markdown.block.parse(text, markdown, ...rest) },
    render: (text, environment) => {
      rendered.push(text.length);
      return markdown.render(text, environment);
    },
  };
  const blocks = new Blocks(counting);
  const text = "A paragraph of some words.\n\n".repeat(400);
  for (let at = 10; at <= text.length; at += 10) blocks.update(text.slice(0, at));
  assert.ok(Math.max(...rendered) < 200);
});

test("inside a long piece of code that is open nothing is parsed", () => {
  const counting = new Counting();
  const blocks = new Blocks(counting);
  let text = "```python\n";
  blocks.update(text);
  counting.parsed = 0;
  for (let line = 0; line < 1000; line++) blocks.update((text += `x = ${line}\n`));
  assert.equal(counting.parsed, 0);
});

test("a closing line in the making is not shown as code", () => {
  const screen = new Screen();
  screen.show("```\nx\n");
  assert.ok(!screen.show("```\nx\n``").includes("``"));
  assert.equal(screen.held, 2);
  assert.ok(screen.show("```\nx\n``y").includes("``y"));
  assert.equal(screen.held, 0);
  assert.equal(screen.show("```\nx\n```\n"), markdown.render("```\nx\n```\n"));
});

test("a definition at the end does not spoil the addresses that are known", () => {
  const screen = new Screen();
  const text = "[a]: https://example.com/\n\nText [a].\n\nMore [a].\n";
  let html = "";
  for (let at = 1; at <= text.length; at++) html = screen.show(text.slice(0, at));
  assert.equal(html, markdown.render(text));
});

test("text appears smoothly, and all of it in a moment", () => {
  const pace = new Pace();
  let shown = pace.advance(1000, 0);
  assert.ok(shown > 0 && shown < 1000);
  for (let now = 16; now < BOUND; now += 16) {
    const next = pace.advance(1000, now);
    assert.ok(next >= shown);
    shown = next;
  }
  assert.equal(pace.advance(1000, BOUND), 1000);
});

test("whatever has arrived is there after the bound, however fast more comes", () => {
  const source = chance(3);
  const pace = new Pace();
  const arrivals = [];
  let arrived = 0;
  for (let now = 0; now < 20_000; now += 5 + random(source, 60)) {
    arrived += random(source, 200);
    arrivals.push([now, arrived]);
    const shown = pace.advance(arrived, now);
    const due = arrivals.filter(([at]) => now - at >= BOUND).at(-1)?.[1] ?? 0;
    assert.ok(shown >= due && shown <= arrived);
  }
});

test("text that was taken back is not there", () => {
  const pace = new Pace(100);
  assert.equal(pace.advance(40, 0), 40);
});
