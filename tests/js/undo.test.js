import assert from "node:assert/strict";
import { test } from "node:test";

import { Undo, WHILE, goneOn } from "../../static/chat/page/undo.js";
import { Clock } from "./doubles.js";

function open() {
  const clock = new Clock();
  const done = [];
  const undo = new Undo((command) => done.push(command.thread), clock);
  const remove = (thread) =>
    undo.offer({ words: thread, command: { type: "delete", thread }, undo: () => done.push(`${thread} is back`) });
  return { clock, done, undo, remove };
}

test("a deletion is put off, and done when its time is up", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  clock.pass(WHILE - 1);
  assert.deepEqual(done, []);
  assert.deepEqual(undo.commands, [{ type: "delete", thread: "a" }]);
  assert.ok(undo.deletes("a") && !undo.deletes("b"));
  clock.pass(1);
  assert.deepEqual(done, ["a"]);
  assert.equal(undo.pending, null);
  assert.deepEqual(undo.commands, []);
});

test("what was taken back is never done", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  clock.pass(WHILE / 2);
  undo.undo();
  undo.settle();
  clock.pass(10 * WHILE);
  assert.deepEqual(done, ["a is back"]);
});

test("what is only said can't be taken back", () => {
  const { undo, remove } = open();
  assert.ok(!undo.possible);
  remove("a");
  assert.ok(undo.possible);
  undo.offer({ words: "a is kept" });
  assert.ok(!undo.possible);
});

test("the next one settles the one before, and has all its time", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  clock.pass(WHILE - 1);
  remove("b");
  assert.deepEqual(done, ["a"]);
  clock.pass(WHILE - 1);
  assert.deepEqual(done, ["a"]);
  undo.undo();
  clock.pass(WHILE);
  assert.deepEqual(done, ["a", "b is back"]);
});

test("while somebody is at it no time passes, and then it has all its time again", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  clock.pass(WHILE - 1);
  undo.hold(true);
  clock.pass(10 * WHILE);
  assert.deepEqual(done, []);
  undo.hold(false);
  clock.pass(WHILE - 1);
  assert.deepEqual(done, []);
  clock.pass(1);
  assert.deepEqual(done, ["a"]);
  undo.hold(true);
  undo.hold(false);
  clock.pass(WHILE);
  assert.deepEqual(done, ["a"]);
});

test("what comes next is not held by who was at the one before", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  undo.hold(true);
  remove("b");
  clock.pass(WHILE);
  assert.deepEqual(done, ["a", "b"]);
});

test("leaving the page settles it once", () => {
  const { clock, done, undo, remove } = open();
  remove("a");
  undo.settle();
  undo.settle();
  clock.pass(WHILE);
  undo.undo();
  assert.deepEqual(done, ["a"]);
});

test("while it is done it is not shown as undone", () => {
  const { clock, undo, remove } = open();
  const seen = [];
  undo.addEventListener("change", () => seen.push(undo.pending?.words ?? null));
  remove("a");
  undo.offer({ words: "said only" });
  clock.pass(WHILE);
  assert.deepEqual(seen, ["a", null, "said only", null]);
});

test("who asks something in a chat goes on with it; an answer that ends does not", () => {
  const at = (status) => ({ status });
  assert.ok(goneOn(at("idle"), at("queued")) && goneOn(at("idle"), at("running")));
  assert.ok(!goneOn(at("running"), at("idle")) && !goneOn(at("idle"), at("idle")) && !goneOn(at("idle"), undefined));
});
