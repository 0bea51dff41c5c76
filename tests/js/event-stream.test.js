import assert from "node:assert/strict";
import test from "node:test";

import { parser } from "../../static/chat/client/event-stream.js";

const STREAM =
  'retry: 1420\n\nevent: change\nid: 19.c9\ndata: {"a":"é😀"}\n\n: a comment\n\ndata: one\ndata: two\n\n' +
  "event: gone\ndata\n\nevent: none\n\nevent: open\ndata: x";

const EVENTS = [
  { type: "retry", data: "1420", id: undefined },
  { type: "change", data: '{"a":"é😀"}', id: "19.c9" },
  { type: "message", data: "one\ntwo", id: undefined },
  { type: "gone", data: "", id: undefined },
];

for (const [name, end] of [["line feeds", "\n"], ["carriage returns", "\r"], ["both", "\r\n"]]) {
  const text = STREAM.replaceAll("\n", end);

  test(`the events of a stream with ${name}, as a whole`, () => {
    assert.deepEqual(parser()(`${text}\n`), EVENTS);
  });

  test(`the events of a stream with ${name}, cut in two anywhere`, () => {
    for (let at = 0; at <= text.length; at++) {
      const parse = parser();
      assert.deepEqual([...parse(text.slice(0, at)), ...parse(text.slice(at))], EVENTS, `cut at ${at}`);
    }
  });

  test(`the events of a stream with ${name}, one character at a time`, () => {
    assert.deepEqual([...text].flatMap(parser()), EVENTS);
  });
}
