import assert from "node:assert/strict";
import { test } from "node:test";

import { pieces, searchWords } from "../../static/chat/page/sidebar-words.js";

test("every place that has the query is a piece of its own, and the pieces are the text", () => {
  const cases = [
    ["Rivers and rivers", "RIVERS", [["Rivers", true], [" and ", false], ["rivers", true]]],
    ["a.b*c", ".b*", [["a", false], [".b*", true], ["c", false]]],
    ["nothing", "else", [["nothing", false]]],
    ["aaa", "aa", [["aa", true], ["a", false]]],
    ["", "x", []],
    ["İstanbul", "i", [["İstanbul", false]]],
    ["all", "", [["all", false]]],
  ];
  for (const [text, query, expected] of cases) {
    assert.deepEqual(pieces(text, query), expected, `${query} in ${text}`);
    assert.equal(pieces(text, query).map(([piece]) => piece).join(""), text);
  }
});

test("a search says how it stands", () => {
  assert.equal(searchWords("asking", "x", 0, false), "Searching…");
  assert.equal(searchWords("asking", "x", 3, false), "3 chats");
  assert.equal(searchWords("found", "x", 0, false), "No chat has “x” in it.");
  assert.equal(searchWords("found", "x", 1, false), "1 chat");
  assert.equal(searchWords("found", "x", 20, true), "More than 20 chats");
  assert.equal(searchWords("waiting", "x", 0, false), "Waiting for the connection");
});
