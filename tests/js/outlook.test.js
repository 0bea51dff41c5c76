import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Transcript } from "../../static/chat/client/transcript.js";
import { abreast, firsts, outlook, silent } from "../../static/chat/page/outlook.js";
import { caughtUp, change, messageRow, runRow } from "./doubles.js";

const said = (id, parent, run = null) => messageRow(id, { parent, text: id, run });
const answered = (id, parent, run, fields = {}) => messageRow(id, { parent, role: "assistant", text: id, run, ...fields });
const waits = (id, after, run) => messageRow(id, { after, text: id, run, status: "queued" });
const queued = (id, prompt, place = 1) => runRow(id, { state: "queued", prompt, place });
const entry = (command, error = null) => ({ command: { thread: "t", ...command }, error });
const REFUSED = { code: "busy" };

/** q1 a1 q2 a2, and more. */
function thread({ messages = [], runs = [], last = {}, state = "completed" } = {}) {
  const transcript = new Transcript("t");
  const path = [said("q1", null, "r1"), answered("a1", "q1", "r1"), said("q2", "a1", "r2"), answered("a2", "q2", "r2", last)];
  const done = [runRow("r1", { state: "completed", prompt: "q1" }), runRow("r2", { state, prompt: "q2" })];
  transcript.apply(change(0, 2, { row: { head: "a2" }, messages: [...path, ...messages], runs: [...done, ...runs] }));
  transcript.apply(caughtUp());
  return transcript;
}

function seen(transcript, entries = [], anew = undefined) {
  const ids = (list) => list.map(({ message }) => message.id).join(" ");
  const { path, next, waiting, ...rest } = outlook(transcript, entries, anew);
  return { path: path.map(({ id }) => id).join(" "), next: ids(next), waiting: ids(waiting), ...rest };
}

const NOTHING = { next: "", waiting: "", left: false, pending: false, wanted: null };

test("where nothing is asked for, the path is shown as it is", () => {
  assert.deepEqual(seen(thread()), { ...NOTHING, path: "q1 a1 q2 a2" });
});

test("what waits while an answer is written comes later; where none is, the first comes next", () => {
  const messages = [waits("q3", "a2", "r3"), waits("q4", "q3", "r4")];
  const runs = [queued("r3", "q3"), queued("r4", "q4", 2)];
  const path = "q1 a1 q2 a2";
  const running = thread({ messages, runs, state: "running", last: { status: "streaming" } });
  assert.deepEqual(seen(running), { ...NOTHING, path, waiting: "q3 q4" });
  assert.deepEqual(seen(thread({ messages, runs })), { ...NOTHING, path, next: "q3", waiting: "q4" });
});

test("a message on its way to the server comes after all that waits there", () => {
  const send = entry({ type: "send", message: "q4", text: "new" });
  const there = thread({ messages: [waits("q3", "a2", "r3")], runs: [queued("r3", "q3")], state: "running" });
  const shown = outlook(there, [send]);
  assert.deepEqual(seen(there, [send]), { ...NOTHING, path: "q1 a1 q2 a2", waiting: "q3 q4", pending: true });
  assert.equal(shown.waiting[1].message.text, "new");
  assert.equal(shown.waiting[1].entry, send);
});

test("what is being taken back waits no longer, and what its branch would have replaced stays", () => {
  const messages = [waits("q3", "a2", "r3"), waits("q4", "q3", "r4")];
  const there = thread({ messages, runs: [queued("r3", "q3"), queued("r4", "q4", 2)], state: "running" });
  assert.deepEqual(seen(there, [entry({ type: "stop", run: "r3" })]), { ...NOTHING, path: "q1 a1 q2 a2", waiting: "q4" });
  const branch = thread({ messages: [waits("q2b", "a1", "r3")], runs: [queued("r3", "q2b")] });
  assert.equal(seen(branch).path, "q1 a1");
  assert.deepEqual(seen(branch, [entry({ type: "stop", run: "r3" })]), { ...NOTHING, path: "q1 a1 q2 a2" });
});

test("what goes on with an answer has been asked for as soon as it was pressed", () => {
  const cut = thread({ last: { status: "cut" }, state: "stopped" });
  const asked = seen(cut, [entry({ type: "continue", of: "a2", run: "r3" })]);
  assert.deepEqual(asked, { ...NOTHING, path: "q1 a1 q2 a2", pending: true });
});

test("an edit is shown in its place at once, and what came after it is gone", () => {
  const edit = { type: "edit", of: "q2", message: "q2b", text: "better" };
  const path = "q1 a1";
  assert.deepEqual(seen(thread(), [entry(edit)]), { ...NOTHING, path, next: "q2b", left: true, pending: true });
  const refused = seen(thread(), [entry(edit, REFUSED)]);
  assert.deepEqual(refused, { ...NOTHING, path, next: "q2b", left: true }, "it stays, to be sent again or taken back");
  const queue = { messages: [waits("q3", "a2", "r3")], runs: [queued("r3", "q3")] };
  assert.equal(seen(thread(queue), [entry(edit)]).waiting, "", "what waited on the path that is left");
});

test("an edit that waits on the server is shown in its place, too", () => {
  const first = thread({ messages: [waits("q1b", null, "r3")], runs: [queued("r3", "q1b")] });
  assert.deepEqual(seen(first), { ...NOTHING, path: "", next: "q1b", left: true });
  const second = thread({ messages: [waits("q2b", "a1", "r3")], runs: [queued("r3", "q2b")], state: "running" });
  assert.deepEqual(seen(second), { ...NOTHING, path: "q1 a1", next: "q2b", left: true });
  const again = entry({ type: "edit", of: "q2b", message: "q2c", text: "best" });
  assert.deepEqual(seen(second, [again]), { ...NOTHING, path: "q1 a1", next: "q2c", left: true, pending: true });
});

test("a message that was sent before the answer to what it follows began is no branch", () => {
  const transcript = thread({ messages: [waits("q3", "q2", "r3")], runs: [queued("r3", "q3")], state: "running" });
  assert.deepEqual(seen(transcript), { ...NOTHING, path: "q1 a1 q2 a2", waiting: "q3" });
});

test("an edit of what waits takes its place in the queue", () => {
  const messages = [waits("q3", "a2", "r3"), waits("q4", "q3", "r4")];
  const transcript = thread({ messages, runs: [queued("r3", "q3"), queued("r4", "q4", 2)], state: "running" });
  const edit = entry({ type: "edit", of: "q3", message: "q3b", text: "better" });
  assert.deepEqual(seen(transcript, [edit]), { ...NOTHING, path: "q1 a1 q2 a2", waiting: "q3b q4", pending: true });
});

test("an answer makes way at once for another one that was asked for", () => {
  const ask = (of) => [entry({ type: "regenerate", of, run: "r3" })];
  assert.deepEqual(seen(thread(), ask("a2")), { ...NOTHING, path: "q1 a1 q2", left: true, pending: true });
  assert.deepEqual(seen(thread(), ask("a1")), { ...NOTHING, path: "q1", left: true, pending: true });
  assert.deepEqual(seen(thread(), ask("q2")), { ...NOTHING, path: "q1 a1 q2", left: true, pending: true });
  const two = thread({ messages: [answered("b2", "a2", "r2")] });
  two.row.head = "b2";
  assert.equal(seen(two, ask("b2")).path, "q1 a1 q2", "and so do all of its run");
});

test("an answer makes way while another one waits for its turn, unless it may be the one to go on", () => {
  const runs = [queued("r3", "q2")];
  assert.deepEqual(seen(thread({ runs })), { ...NOTHING, path: "q1 a1 q2", left: true });
  const cut = thread({ runs, last: { status: "cut" } });
  assert.deepEqual(seen(cut), { ...NOTHING, path: "q1 a1 q2 a2" });
  assert.deepEqual(seen(cut, [], new Set(["r3"])), { ...NOTHING, path: "q1 a1 q2", left: true });
});

test("the version that was chosen last is wanted until the server has it", () => {
  const chosen = (message, error) => entry({ type: "select", message }, error);
  assert.equal(seen(thread(), [chosen("x"), chosen("y")]).wanted, "y");
});

test("answers belong together that one run has written, and those it was gone on with", () => {
  const path = (...rows) => [said("q", null, "r"), ...rows];
  const runs = (prompts) => new Map(Object.entries(prompts).map(([id, prompt]) => [id, runRow(id, { prompt })]));
  const goneOn = path(answered("a", "q", "r"), answered("b", "a", "s"));
  assert.deepEqual(firsts(goneOn, runs({ r: "q", s: "q" })), [0, 1, 1]);
  assert.deepEqual(firsts(goneOn, runs({ r: "q", s: "other" })), [0, 1, 2]);
  assert.deepEqual(firsts(path(answered("a", "q", "r"), answered("b", "a", "r")), new Map()), [0, 1, 1], "though it is not held");
  const next = [...path(answered("a", "q", "r")), said("p", "a", "s"), answered("b", "p", "s")];
  assert.deepEqual(firsts(next, runs({ r: "q", s: "p" })), [0, 1, 2, 3]);
  assert.deepEqual(firsts([answered("a", null, null), answered("b", "a", null)], new Map()), [0, 1], "of no run");
});

test("all that belongs together makes way for another answer, also what another run has gone on with", () => {
  const transcript = thread({ messages: [answered("b2", "a2", "r3")], runs: [runRow("r3", { state: "stopped", prompt: "q2" })] });
  transcript.row.head = "b2";
  assert.equal(seen(transcript, [entry({ type: "regenerate", of: "b2", run: "r4" })]).path, "q1 a1 q2");
});

test("of a question that nothing answers on the path, the last run that was to do so is known, once it has ended", () => {
  const path = [said("q1", null), said("q2", "q1"), answered("a2", "q2", "r2")];
  const run = (id, prompt, state, version) => [id, runRow(id, { prompt, state, version })];
  const first = run("r1", "q1", "failed", 3);
  const of = (at, ...others) => silent(path, at, new Map([first, run("r2", "q2", "completed", 5), ...others]))?.id;
  assert.deepEqual([0, 1, 2].map((at) => of(at)), ["r1", undefined, undefined]);
  assert.equal(of(0, run("r3", "q1", "stopped", 7)), "r3");
  assert.equal(of(0, run("r3", "q1", "running", 7)), undefined);
  assert.equal(of(0, run("r0", "q1", "stopped", 2)), "r1");
});

test("answers that began before one of them had said a word stand side by side, as in the server's first paint", () => {
  const { cases } = JSON.parse(readFileSync(new URL("../words/abreast.json", import.meta.url)));
  const beside = (path, runs) => abreast(path, runs, firsts(path, runs));
  for (const { about, path, runs, counts } of cases) assert.deepEqual(beside(path, new Map(Object.entries(runs))), counts, about);
  const begun = [answered("a", "q", "r"), answered("b", "a", "r", { created_at: null })];
  assert.deepEqual(beside(begun, new Map()), [2, 2], "one of which has no row yet");
});
