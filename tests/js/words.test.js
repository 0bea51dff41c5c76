import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Transcript } from "../../static/chat/client/transcript.js";
import * as words from "../../static/chat/page/words.js";
import { caughtUp, change, delta, messageRow, runRow } from "./doubles.js";

const { connectionWords, lifeSign, messageFoot, queueWords, refusalWords, seconds } = words;
const { sizeWords, statistics, thoughtWords, timeWords, versionsOf, viaWords } = words;

const NO_WORKER = { code: "no_worker", status: 503, message: "No worker is running.", retryable: true };
const FAILED = { code: "provider_timeout", status: 504, message: "The model did not answer in time.", retryable: true };
const START = Date.parse("2026-01-01T00:00:00Z");
const LEASE = 1_000_000;

function thread({ messages = [], runs = [], head = "q" } = {}) {
  const transcript = new Transcript("t");
  const question = messageRow("q", { text: "why?", run: "r" });
  transcript.apply(change(0, 2, { row: { head }, messages: [question, ...messages], runs }));
  transcript.apply(caughtUp());
  return transcript;
}

const sign = (transcript, given = {}) => lifeSign(transcript, { now: START, live: true, pending: false, ...given });

test("the connection is told in words", () => {
  const told = (state, given = {}) => {
    const at = { now: 1000, online: true, before: true, unsent: false };
    const { state: drawn, words, canHurry } = connectionWords(state, { ...at, ...given });
    return `${drawn}: ${words}${canHurry ? " [now]" : ""}`;
  };
  const waiting = { name: "waiting", code: 1006, until: 4900 };
  assert.equal(told({ name: "live" }), "live: Live");
  assert.equal(told({ name: "connecting" }, { before: false }), "connecting: Connecting…");
  assert.equal(told({ name: "connecting" }), "connecting: Reconnecting…");
  assert.equal(told(waiting), "waiting: Reconnecting in 4 s [now]");
  assert.equal(told({ ...waiting, until: 1200 }), "connecting: Reconnecting…");
  assert.equal(told({ ...waiting, until: 1200, code: 1012 }), "waiting: The server restarts…");
  assert.equal(told(waiting, { online: false }), "offline: Offline");
  assert.equal(told(waiting, { online: false, unsent: true }), "offline: Offline: your message will be sent");
  assert.equal(told({ name: "refused", code: 4401 }), "refused: Signed out");
  assert.equal(told({ name: "refused", code: 4403 }), "refused: Not connected");
});

test("how the connection is made is told if it is not as usual", () => {
  assert.equal(viaWords("websocket"), "");
  assert.equal(viaWords(null), "");
  assert.match(viaWords("events"), /event streams/);
  assert.match(viaWords("polls"), /neither/);
});

test("a refused connection says what to do", () => {
  assert.deepEqual(refusalWords(4401), { words: "You are signed out.", action: "Sign in" });
  assert.equal(refusalWords(4400).action, "Reload");
});

test("seconds are whole and never none", () => {
  assert.deepEqual([0, 900, 1250, 59_800, 240_000].map(seconds), ["1 s", "1 s", "1 s", "60 s", "4 min"]);
});

test("while the model is silent, it is said for how long", () => {
  const transcript = thread({ runs: [runRow("r", { started_at: "2026-01-01T00:00:00Z" })] });
  assert.equal(sign(transcript, { now: START + 900 }).words, "Waiting for the model");
  assert.equal(sign(transcript, { now: START + 7_000 }).words, "Waiting for the model for 7 s");
  assert.equal(sign(transcript, { now: START + 7_000, live: false }).words, "Waiting for the connection");
});

test("an answer that shows itself needs no other sign of life", () => {
  for (const kind of ["text", "reasoning"]) {
    const transcript = thread({ runs: [runRow("r", { started_at: "2026-01-01T00:00:00Z" })] });
    transcript.apply(delta(LEASE, LEASE + 2, [["start", "a", {}], [kind, "a", "Hm"]]));
    assert.equal(sign(transcript), null);
  }
});

test("between two messages of one run it goes on", () => {
  const transcript = thread({ runs: [runRow("r", { started_at: "2026-01-01T00:00:00Z" })] });
  transcript.apply(delta(LEASE, LEASE + 3, [["start", "a", {}], ["text", "a", "Draft"], ["end", "a"]]));
  assert.equal(sign(transcript).words, "Going on…");
});

test("after a message that has ended by its row, the run's next is awaited", () => {
  const ended = messageRow("a", { parent: "q", role: "assistant", run: "r", text: "Draft" });
  assert.equal(sign(thread({ messages: [ended], runs: [runRow("r", { started_at: null })] })).words, "Going on…");
});

test("a queued run says its place, or that there is no worker", () => {
  const queued = (fields) => thread({ runs: [runRow("r", { state: "queued", place: 1, ...fields })] });
  assert.equal(sign(queued()).words, "Queued");
  assert.equal(sign(queued({ place: 3 })).words, "Queued, place 3");
  assert.equal(sign(queued({ error: NO_WORKER })).words, "Waiting for a worker: none is running");
  assert.deepEqual([queueWords(1), queueWords(2)], ["Queued: next", "Queued, place 2"]);
});

test("a message that has not reached the server says so", () => {
  assert.equal(sign(thread(), { pending: true }).words, "Sending…");
  assert.equal(sign(thread(), { pending: true, live: false }).words, "Will be sent when the connection is back");
});

test("nothing is awaited below a complete answer", () => {
  const answer = messageRow("a", { parent: "q", role: "assistant", run: "r", text: "Because." });
  assert.equal(sign(thread({ messages: [answer], runs: [runRow("r", { state: "completed" })], head: "a" })), null);
});

test("an answer that is written where the reader is not is told of, and can be shown", () => {
  const other = messageRow("q2", { text: "and?" });
  const runs = [runRow("r", { prompt: "q2", started_at: null })];
  const transcript = thread({ messages: [other], runs });
  const words = "An answer is being written on another path";
  assert.deepEqual(sign(transcript), { state: "elsewhere", words, of: "q2", action: "show" });
});

test("who leaves a path sees what becomes of that, and not what is still said there", () => {
  const runs = [runRow("r", { started_at: "2026-01-01T00:00:00Z" })];
  assert.equal(sign(thread({ runs }), { left: true, path: [], pending: true }).words, "Sending…");
  const unsent = "Will be sent when the connection is back";
  assert.equal(sign(thread({ runs }), { left: true, path: [], pending: true, live: false }).words, unsent);
  const queued = thread({ runs: [...runs, runRow("s", { state: "queued", place: 1 })] });
  assert.equal(sign(queued, { left: true }).words, "Queued");
});

const answer = (status, fields = {}) => messageRow("a", { role: "assistant", status, text: "Be", ...fields });
const foot = (status, run, given = {}) => messageFoot(answer(status), { run, last: true, busy: false, ...given });
const done = (fields) => runRow("r", { state: "completed", ...fields });

test("a complete answer can be copied, asked for again and looked into", () => {
  assert.deepEqual(foot("complete", done()), { note: "", actions: [], tools: ["copy", "regenerate", "stats"] });
  assert.deepEqual(foot("complete", done(), { last: false, whole: true }).tools, ["copy", "regenerate", "stats"]);
  assert.deepEqual(foot("complete", done(), { last: false }).tools, ["copy", "stats"], "another of its run's comes");
  assert.equal(foot("complete", done({ left_out: 1 })).note, "1 earlier message did not fit and was left out");
  assert.equal(foot("complete", done({ left_out: 4 })).note, "4 earlier messages did not fit and were left out");
});

test("an answer that is being written can be asked for again; one that is being stopped not", () => {
  assert.deepEqual(foot("streaming", runRow("r")), { note: "", actions: [], tools: ["copy", "regenerate"] });
  assert.deepEqual(foot("streaming", runRow("r"), { stopping: true }), { note: "Stopping…", actions: [], tools: ["copy"] });
  const silent = { ...answer("streaming"), text: "", reasoning: "", ended: false };
  assert.equal(messageFoot(silent, { run: runRow("r"), beside: true }).note, "Waiting for the model");
  assert.equal(messageFoot(silent, { run: runRow("r") }).note, "", "the sign of life says so for one alone");
});

test("an answer that was cut can be gone on with, at the path's end and while nothing else is said", () => {
  const stopped = done({ state: "stopped" });
  assert.deepEqual(foot("cut", stopped).actions, ["continue"]);
  assert.equal(foot("cut", stopped).note, "Stopped");
  assert.deepEqual(foot("cut", stopped, { busy: true }).actions, []);
  assert.deepEqual(foot("cut", stopped, { last: false, whole: true }).actions, []);
  assert.deepEqual(foot("cut", stopped, { last: false, whole: true }).tools, ["copy", "regenerate", "stats"]);
  const interrupted = foot("cut", done({ state: "interrupted" }));
  assert.deepEqual([interrupted.note, interrupted.actions], ["Interrupted", ["continue", "retry"]]);
});

test("an answer that failed says why, and can be tried again", () => {
  const failed = foot("failed", done({ state: "failed", error: FAILED }));
  const actions = ["retry", "continue"];
  assert.deepEqual(failed, { note: FAILED.message, wrong: true, actions, tools: ["copy", "stats"] });
  const oneOfTwo = answer("failed", { error: FAILED, text: "" });
  const alone = messageFoot(oneOfTwo, { run: done(), last: true, busy: false });
  assert.deepEqual(alone, { note: FAILED.message, wrong: true, actions: ["retry"], tools: ["stats"] });
});

test("a question that got no answer says why, and can be asked again while nothing else is answered", () => {
  const question = messageRow("q", { text: "why?" });
  const tools = ["copy", "edit"];
  assert.deepEqual(messageFoot(question), { note: "", actions: [], tools });
  const failed = { run: done({ state: "failed", error: FAILED }) };
  assert.deepEqual(messageFoot(question, failed), { note: FAILED.message, wrong: true, actions: ["retry"], tools });
  assert.deepEqual(messageFoot(question, { ...failed, busy: true }).actions, []);
  assert.deepEqual(messageFoot(question, { run: done({ state: "stopped" }) }).actions, ["regenerate"]);
});

test("a waiting message can be taken back, edited, and sent before all others", () => {
  const queued = messageRow("n", { status: "queued", text: "next" });
  const actions = ["sendnow", "unqueue"];
  const tools = ["copy", "edit"];
  assert.deepEqual(messageFoot(queued, { waiting: "Queued: next" }), { note: "Queued: next", actions, tools });
  assert.deepEqual(messageFoot(queued, { waiting: "", first: true }).actions, ["unqueue"], "nothing is before it");
  const pending = { role: "user", status: "pending" };
  assert.deepEqual(messageFoot(pending, { error: FAILED }).actions, ["resend", "takeback"]);
  assert.equal(messageFoot(pending, { live: false }).note, "Will be sent when the connection is back");
  assert.equal(messageFoot(pending, { live: true }).note, "");
  assert.deepEqual(messageFoot(pending, { live: false, handed: false }).actions, ["takeback"]);
  assert.deepEqual(messageFoot(pending, { live: false, handed: true }).actions, []);
  assert.equal(messageFoot(pending, { live: false, first: true }).note, "", "the sign of life says so");
});

test("the server's first paint has the same notes", () => {
  const { cases } = JSON.parse(readFileSync(new URL("../words/notes.json", import.meta.url)));
  for (const { about, message, run, answering, note } of cases) {
    const waiting = answering ? queueWords(run?.place ?? 1) : "";
    assert.equal(messageFoot(messageRow("a", message), { run: run ? runRow("r", run) : undefined, waiting }).note, note, about);
  }
});

test("a message says which of its versions it is, and where the others are", () => {
  const of = (id, siblings, wanted) => versionsOf(messageRow(id, { siblings }), wanted);
  assert.equal(of("a", ["a"]), null);
  assert.deepEqual(of("a", ["a", "b"]), { words: "1/2", previous: null, next: "b" });
  assert.deepEqual(of("b", ["a", "b", "c"]), { words: "2/3", previous: "a", next: "c" });
  assert.deepEqual(of("a", ["a", "b"], "b"), { words: "2/2", previous: "a", next: null }, "chosen, and on its way");
  assert.deepEqual(of("a", ["a", "b"], "z"), { words: "1/2", previous: null, next: "b" });
});

test("when a message was is told shortly, and exactly", () => {
  const now = new Date(2026, 10, 21, 15, 30).getTime();
  const short = (...date) => timeWords(new Date(...date).toISOString(), now, "en-GB").short;
  assert.equal(short(2026, 10, 21, 9, 5), "9:05");
  assert.equal(short(2026, 10, 20, 9, 5), "20 Nov, 9:05");
  assert.equal(short(2025, 10, 20, 9, 5), "20 Nov 2025, 9:05");
  const { exact } = timeWords(new Date(2026, 10, 20, 9, 5, 7).toISOString(), now, "en-GB");
  assert.match(exact, /^Friday,? 20 November 2026.* 09:05:07$/);
});

test("how an answer was made is told as far as it is known", () => {
  const at = (second) => `2026-01-01T00:00:${second}Z`;
  const run = done({
    model: "demo",
    tokens_in: 1234,
    tokens_out: 100,
    started_at: at("00.000"),
    first_token_at: at("00.500"),
    finished_at: at("08.500"),
  });
  assert.deepEqual(statistics(messageRow("a"), run), [
    ["Model", "demo"],
    ["Tokens read", "1,234"],
    ["Tokens written", "100"],
    ["First token after", "0.5 s"],
    ["Speed", "13 tokens/s"],
    ["Took", "8.5 s"],
  ]);
  const nothing = done({ model: "", tokens_in: null, tokens_out: null, started_at: null, first_token_at: null });
  assert.deepEqual(statistics(messageRow("a", { author: "Ada" }), nothing), [["Model", "Ada"]]);
});

test("thoughts say how long they took, where that is known, in the words of the first paint", () => {
  const { cases } = JSON.parse(readFileSync(new URL("../words/thoughts.json", import.meta.url)));
  for (const { thinking, ms, words } of cases) assert.equal(thoughtWords(thinking, ms), words);
});

test("the size of what is written is told when it is large, and when it is too large", () => {
  assert.deepEqual(sizeWords("a".repeat(4095), 32_768), { words: "", wrong: false });
  assert.deepEqual(sizeWords("a".repeat(8192), 32_768), { words: "8.0 KB of 32 KB", wrong: false });
  assert.deepEqual(sizeWords("é".repeat(16_385), 32_768), { words: "Too long: 32 KB of 32 KB", wrong: true });
  assert.equal(sizeWords("é".repeat(20), 30).wrong, true, "a short limit is one, too");
});
