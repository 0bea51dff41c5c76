import assert from "node:assert/strict";
import test from "node:test";

import { Transcript } from "../../static/chat/client/transcript.js";
import { AnswerNews } from "../../static/chat/page/answer-news.js";
import { change, messageRow, runRow } from "./doubles.js";

const BEGINS = "The answer begins";
const COMPLETE = "The answer is complete";
const STARTED = { started_at: "2026-01-01T00:00:00.000Z" };

const run = (id, state, version, fields = {}) => runRow(id, { state, version, ...STARTED, ...fields });

/** A chat whose answers are looked at. `is(version, ...runs)`: the chat changes to this, and what is said then. */
class Chat {
  transcript = new Transcript("t");
  news = new AnswerNews();

  constructor(...runs) {
    this.changes(1, ...runs);
    this.caughtUp();
  }

  changes(version, ...runs) {
    const { version: from } = this.transcript;
    const row = from === 0 ? { row: { head: "q" }, messages: [messageRow("q")] } : {};
    this.transcript.apply(change(from, version, { ...row, runs }));
  }

  caughtUp() {
    this.transcript.apply({ type: "caught_up", thread: "t", cursor: `${this.transcript.version}` });
  }

  is(version, ...runs) {
    this.changes(version, ...runs);
    return this.news.look();
  }

  /** Somebody comes to it, and it is brought up to date. */
  open() {
    this.news.show(this.transcript);
    const before = this.news.look();
    this.caughtUp();
    return [before, this.news.look()];
  }
}

test("an answer is told of when it begins and when it ends, once each", () => {
  const chat = new Chat();
  chat.open();
  assert.equal(chat.is(2, run("r", "queued", 2)), "");
  assert.equal(chat.is(3, run("r", "running", 3)), BEGINS);
  assert.equal(chat.is(4), "");
  assert.equal(chat.is(5, run("r", "completed", 5)), COMPLETE);
  assert.equal(chat.is(6, run("r", "completed", 6)), "");
});

test("of an answer that began and ended between two looks, the end is told", () => {
  const chat = new Chat();
  chat.open();
  assert.equal(chat.is(3, run("r", "failed", 3)), "The answer failed");
});

test("of one that ended and the next that began, both are told", () => {
  const chat = new Chat();
  chat.open();
  chat.is(2, run("r", "running", 2));
  assert.equal(chat.is(4, run("r", "completed", 3), run("s", "running", 4)), `${COMPLETE}. ${BEGINS}`);
});

test("who comes to a chat hears what is being written, and nothing of what had ended", () => {
  const ended = run("r", "completed", 1);
  assert.deepEqual(new Chat(ended).open(), ["", ""]);
  assert.deepEqual(new Chat(ended, run("s", "running", 1)).open(), ["", BEGINS]);
});

test("who comes back hears nothing of what ended elsewhere meanwhile", () => {
  const chat = new Chat();
  chat.open();
  chat.is(2, run("r", "running", 2));
  chat.news.show(null);
  assert.equal(chat.news.look(), "");
  chat.news.show(chat.transcript);
  assert.equal(chat.news.look(), "", "it may be over by now");
  chat.changes(4, run("r", "completed", 3), run("s", "completed", 4));
  chat.caughtUp();
  assert.equal(chat.news.look(), "");
});

test("in a chat that begins here the first answer is news however fast it was", () => {
  const transcript = new Transcript("t");
  const news = new AnswerNews();
  news.show(transcript, { begins: true });
  transcript.apply(change(0, 3, { row: { head: "q" }, messages: [messageRow("q")], runs: [run("r", "completed", 3)] }));
  transcript.apply({ type: "caught_up", thread: "t", cursor: "3" });
  assert.equal(news.look(), COMPLETE);
});

test("an answer that is begun anew by another worker begins once", () => {
  const chat = new Chat();
  chat.open();
  assert.equal(chat.is(2, run("r", "running", 2)), BEGINS);
  assert.equal(chat.is(3, run("r", "queued", 3)), "");
  assert.equal(chat.is(4, run("r", "running", 4)), "");
});

test("an ended answer that changes again does not end again", () => {
  const chat = new Chat(run("r", "stopped", 1));
  chat.open();
  assert.equal(chat.is(3, run("r", "stopped", 2), run("s", "queued", 3)), "", "what goes on with it waits");
});

test("earlier messages and what is taken back from the queue are no news", () => {
  const chat = new Chat();
  chat.open();
  chat.is(2, run("w", "queued", 2, { started_at: null }));
  assert.equal(chat.is(3, run("w", "stopped", 3, { started_at: null })), "");
  chat.transcript.addEarlier({ messages: [], runs: [run("old", "completed", 1)] });
  assert.equal(chat.news.look(), "");
});

test("of a chat that is gone, and comes back, nothing is told", () => {
  const chat = new Chat(run("r", "completed", 1));
  chat.open();
  chat.transcript.lose("not_found");
  assert.equal(chat.news.look(), "");
  chat.changes(1, run("r", "completed", 1));
  chat.caughtUp();
  assert.equal(chat.news.look(), "");
});
