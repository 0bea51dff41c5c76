import assert from "node:assert/strict";
import test from "node:test";

import { Transcript } from "../../static/chat/client/transcript.js";
import { caughtUp, change, delta, messageRow, runRow } from "./doubles.js";

const LEASE = 1_000_000;
const QUESTION = messageRow("q", { text: "why?", run: "r" });
const answer = (fields) => messageRow("a", { parent: "q", role: "assistant", run: "r", ...fields });

/** A thread whose question is being answered; nothing of the answer is there yet. */
function asked() {
  const transcript = new Transcript("t");
  transcript.apply(change(0, 2, { row: { head: "q" }, messages: [QUESTION], runs: [runRow("r")] }));
  transcript.apply(caughtUp());
  return transcript;
}

const texts = (transcript) => transcript.path.map((message) => message.text);

test("the path is the head and its ancestors, oldest first", () => {
  const transcript = new Transcript("t");
  const rows = [
    messageRow("3", { parent: "2", text: "c" }),
    messageRow("1", { text: "a" }),
    messageRow("2b", { parent: "1", text: "other" }),
    messageRow("2", { parent: "1", text: "b" }),
  ];
  transcript.apply(change(0, 5, { row: { head: "3" }, messages: rows }));
  assert.deepEqual(texts(transcript), ["a", "b", "c"]);
  assert.equal(transcript.hasEarlier, false);
});

test("an answer appears with its first part and grows by every delta", () => {
  const transcript = asked();
  const start = ["start", "a", { parent: null, author: "demo", role: "assistant" }];
  transcript.apply(delta(LEASE, LEASE + 2, [start, ["text", "a", "Be"]]));
  transcript.apply(delta(LEASE + 2, LEASE + 3, [["text", "a", "cause"]]));
  assert.deepEqual(texts(transcript), ["why?", "Because"]);
  assert.equal(transcript.path[1].author, "demo");
  assert.equal(transcript.path[1].status, "streaming");
  assert.equal(transcript.cursor, `2.r.${LEASE + 3}`);
});

test("a delta that we have is dropped, and one that skips something is a gap", () => {
  const transcript = asked();
  const first = delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "Be"]]);
  transcript.apply(first);
  assert.equal(transcript.apply(first), "dropped");
  assert.equal(transcript.apply(delta(LEASE + 5, LEASE + 6, [["text", "a", "!"]])), "gap");
  assert.deepEqual(texts(transcript), ["why?", "Be"]);
  assert.equal(transcript.gaps, 1);
  assert.equal(transcript.cursor, `2.r.${LEASE + 2}`);
});

test("a final row without text keeps the text that was streamed", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "Yes 👍"]]));
  const row = answer({ text_length: 5, reasoning_length: 0, seq: LEASE + 2, version: 3 });
  transcript.apply(change(2, 3, { row: { head: "a" }, messages: [row], runs: [runRow("r", { state: "completed" })] }));
  assert.deepEqual(texts(transcript), ["why?", "Yes 👍"]);
  assert.equal(transcript.path[1].status, "complete");
  assert.equal(transcript.running, undefined);
});

test("a stop cuts at code points, not at UTF-16 units", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "👍👍👍 more"]]));
  const row = answer({ status: "cut", text_length: 2, reasoning_length: 0, seq: LEASE + 2 });
  transcript.apply(change(2, 3, { row: { head: "a" }, messages: [row], runs: [runRow("r", { state: "stopped" })] }));
  assert.deepEqual(texts(transcript), ["why?", "👍👍"]);
});

test("a row with text replaces what we have and sets our place in the run, also backwards", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 9, [["start", "a", {}], ["text", "a", "lost with the worker"]]));
  const row = answer({ text: "lost", status: "streaming", seq: LEASE + 4 });
  transcript.apply(change(2, 2, { messages: [row] }));
  assert.deepEqual(texts(transcript), ["why?", "lost"]);
  assert.equal(transcript.apply(delta(LEASE + 4, LEASE + 5, [["text", "a", " and found"]])), "applied");
  assert.deepEqual(texts(transcript), ["why?", "lost and found"]);
});

test("a row of a running run without text and lengths leaves the text alone", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "so far"]]));
  transcript.apply(change(2, 3, { messages: [answer({ status: "streaming", seq: LEASE + 1, version: 3 })] }));
  assert.deepEqual(texts(transcript), ["why?", "so far"]);
  assert.equal(transcript.apply(delta(LEASE + 2, LEASE + 3, [["text", "a", "!"]])), "applied");
});

test("a row that refers to text which we lack is a gap", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "short"]]));
  const row = answer({ text_length: 50, reasoning_length: 0, seq: LEASE + 9 });
  assert.equal(transcript.apply(change(2, 3, { messages: [row] })), "gap");
  assert.equal(transcript.version, 2);
});

test("late deltas of an ended run are dropped", () => {
  const transcript = asked();
  transcript.apply(change(2, 3, { messages: [answer({ text: "done" })], runs: [runRow("r", { state: "completed" })] }));
  assert.equal(transcript.apply(delta(LEASE, LEASE + 2, [["text", "a", "late"]])), "dropped");
  assert.equal(transcript.messages.get("a").text, "done");
});

test("a run that is started again begins its messages anew", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 1, [["start", "a", {}]]));
  transcript.apply(change(2, 4, { runs: [runRow("r", { seq: 2 * LEASE })] }));
  transcript.apply(delta(2 * LEASE, 2 * LEASE + 2, [["start", "a", {}], ["text", "a", "again"]]));
  assert.deepEqual(texts(transcript), ["why?", "again"]);
  assert.equal(transcript.gaps, 0);
});

test("a change from zero begins anew, and is whole only when caught up", () => {
  const transcript = asked();
  transcript.apply(change(0, 1, { row: { head: "x" }, messages: [messageRow("w", { text: "restored" })] }));
  assert.equal(transcript.complete, false);
  transcript.apply(change(1, 2, { messages: [messageRow("x", { parent: "w", text: "backup" })] }));
  transcript.apply(caughtUp());
  assert.equal(transcript.complete, true);
  assert.deepEqual(texts(transcript), ["restored", "backup"]);
  assert.equal(transcript.runs.size, 0);
});

test("a change out of order is dropped if it is old, and a gap if it skips a version", () => {
  const transcript = asked();
  assert.equal(transcript.apply(change(1, 1)), "dropped");
  assert.equal(transcript.apply(change(3, 4)), "gap");
  assert.equal(transcript.version, 2);
});

test("interleaved messages of one run grow on their own", () => {
  const transcript = asked();
  transcript.apply(
    delta(LEASE, LEASE + 6, [
      ["start", "a", { author: "one" }],
      ["start", "b", { author: "two" }],
      ["text", "a", "1"],
      ["text", "b", "2"],
      ["end", "a"],
      ["text", "b", "2"],
    ]),
  );
  assert.deepEqual(texts(transcript), ["why?", "1", "22"]);
  assert.deepEqual(transcript.path.map((message) => message.author), ["", "one", "two"]);
  assert.equal(transcript.messages.get("a").ended, true);
});

test("part kinds that we don't know are skipped and still move the place", () => {
  const transcript = asked();
  const strange = [["usage", "a", { input: 1, output: 2 }], ["sparkle", "a"], ["done", ""]];
  transcript.apply(delta(LEASE, LEASE + 3, [["start", "a", {}], ...strange]));
  assert.equal(transcript.apply(delta(LEASE + 3, LEASE + 4, [["text", "a", "ok"]])), "applied");
});

test("an answer on a path that was left is not shown", () => {
  const transcript = new Transcript("t");
  const other = messageRow("q2", { text: "something else" });
  transcript.apply(change(0, 2, { row: { head: "q2" }, messages: [QUESTION, other], runs: [runRow("r")] }));
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", { parent: "q" }], ["text", "a", "aside"]]));
  assert.deepEqual(texts(transcript), ["something else"]);
  assert.equal(transcript.messages.get("a").text, "aside");
});

test("queued messages are in the order of their runs' places, and not on the path", () => {
  const transcript = asked();
  const queued = (id, run) => messageRow(id, { status: "queued", after: "q", text: id, run });
  transcript.apply(
    change(2, 4, {
      messages: [queued("n2", "r3"), queued("n1", "r2")],
      runs: [runRow("r3", { state: "queued", place: 2 }), runRow("r2", { state: "queued", place: 1 })],
    }),
  );
  assert.deepEqual(transcript.queued.map((message) => message.id), ["n1", "n2"]);
  assert.deepEqual(texts(transcript), ["why?"]);
});

test("history is put before what is held and replaces nothing", () => {
  const transcript = new Transcript("t");
  transcript.apply(change(0, 9, { row: { head: "5" }, messages: [messageRow("5", { parent: "4", text: "new" })] }));
  assert.equal(transcript.hasEarlier, true);
  const stale = messageRow("5", { parent: "4", text: "stale" });
  transcript.addEarlier({ messages: [messageRow("4", { text: "old" }), stale] });
  assert.deepEqual(texts(transcript), ["old", "new"]);
  assert.equal(transcript.hasEarlier, false);
});

test("a thread that is gone holds nothing any more", () => {
  const transcript = asked();
  transcript.apply({ type: "gone", thread: "t", code: "not_found" });
  assert.equal(transcript.gone, "not_found");
  assert.equal(transcript.path.length, 0);
  assert.equal(transcript.cursor, null);
});

test("listeners hear of rows and of text, with the messages that grew", () => {
  const transcript = asked();
  const heard = [];
  transcript.addEventListener("rows", () => heard.push("rows"));
  transcript.addEventListener("text", (event) => heard.push([...event.detail].join()));
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "x"]]));
  transcript.apply(delta(LEASE + 2, LEASE + 3, [["reasoning", "a", "hm"]]));
  assert.deepEqual(heard, ["rows", "a", "a"]);
  assert.equal(transcript.messages.get("a").reasoning, "hm");
});

test("however the same answer reaches a client, the transcript is the same", () => {
  const words = [..."An 👩‍🚀 answer in 日本語, of many parts. "].flatMap((letter) => [letter, letter]);
  const whole = words.join("");
  const final = change(2, 3, {
    row: { head: "a" },
    messages: [answer({ text_length: [...whole].length, reasoning_length: 0, version: 3 })],
    runs: [runRow("r", { state: "completed" })],
  });
  for (let joined = 0; joined <= words.length; joined += 3) {
    const transcript = new Transcript("t");
    const head = words.slice(0, joined).join("");
    const row = answer({ text: head, status: "streaming", seq: LEASE + 1 + joined });
    const runs = [runRow("r", { seq: LEASE + 1 + joined })];
    transcript.apply(change(0, 2, { row: { head: "q" }, messages: [QUESTION, row], runs }));
    for (let i = joined; i < words.length; i++) {
      const next = delta(LEASE + 1 + i, LEASE + 2 + i, [["text", "a", words[i]]]);
      transcript.apply(next);
      if (i % 5 === 0) transcript.apply(next);
    }
    transcript.apply(final);
    assert.deepEqual(texts(transcript), ["why?", whole]);
    assert.equal(transcript.gaps, 0);
  }
});

test("who begins anew in the middle of an answer is told of it when everything is there, and not of less before", () => {
  const transcript = asked();
  transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], ["text", "a", "One. Two. Three."]]));
  const told = [];
  for (const type of ["rows", "text"]) transcript.addEventListener(type, () => told.push([type, transcript.path.at(-1).text]));
  const checkpoint = answer({ text: "One.", seq: LEASE + 1, status: "streaming" });
  const run = runRow("r", { seq: LEASE + 1 });
  transcript.apply(change(0, 2, { row: { head: "q" }, messages: [QUESTION, checkpoint], runs: [run] }));
  transcript.apply(delta(LEASE + 1, LEASE + 3, [["text", "a", " Two. Three. Four."]]));
  assert.deepEqual(told, []);
  transcript.apply(caughtUp());
  assert.deepEqual(told, [["rows", "One. Two. Three. Four."]]);
  transcript.apply(delta(LEASE + 3, LEASE + 4, [["text", "a", " Five."]]));
  assert.deepEqual(told.at(-1), ["text", "One. Two. Three. Four. Five."]);
});
