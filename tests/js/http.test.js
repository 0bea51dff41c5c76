import assert from "node:assert/strict";
import test from "node:test";

import { HttpTransport } from "../../static/chat/client/http.js";
import { caughtUp, change, Clock, Server, settled, WELCOME } from "./doubles.js";

const REFUSAL = { code: "rate_limited", status: 429, message: "Too many.", retryable: true, retry_after: 3 };
const SIGNED_OUT = { code: "unauthenticated", status: 401, message: "Sign in.", retryable: false };
const INBOX = { type: "inbox", from: 0, to: 4, items: [], removed: [], cursor: "4" };
const THREAD = "/api/threads/t/events";
const POLL = "/api/threads/t/updates";

async function open({ ways = { proven: null } } = {}) {
  const clock = new Clock();
  const server = new Server();
  const frames = [];
  const closes = [];
  const headers = () => ({ "X-CSRFToken": "crumb" });
  const transport = new HttpTransport({ base: "http://chat.test/api/", headers, fetch: server.fetch, clock, ways });
  transport.onframe = (frame) => frames.push(frame);
  transport.onclose = (code) => closes.push(code);
  await settled();
  const pass = (duration) => (clock.pass(duration), settled());
  const take = () => frames.splice(0).map(({ type, id }) => (id ? `${type} ${id}` : type));
  return { clock, server, frames, closes, transport, ways, pass, take };
}

async function welcomed(options) {
  const opened = await open(options);
  await opened.server.take("/api/me").answer(WELCOME);
  opened.take();
  return opened;
}

/** Somebody who follows the thread by a stream. */
async function following(options) {
  const opened = await welcomed(options);
  opened.transport.send({ type: "attach", id: "a", thread: "t", cursor: "1" });
  await settled();
  return { ...opened, stream: await opened.server.take(THREAD).stream() };
}

test("its welcome is who you are, by the API", async () => {
  const { server, frames } = await open();
  const request = server.take("/api/me");
  assert.equal(request.headers["X-CSRFToken"], "crumb");
  await request.answer(WELCOME);
  assert.deepEqual(frames, [WELCOME]);
});

test("a stream brings what an attachment brings, from its cursor on", async () => {
  const { server, stream, take, transport } = await following();
  assert.deepEqual(server.all.at(-1).asked, { cursor: "1" });
  await stream.send(change(1, 2));
  await stream.send(caughtUp());
  assert.deepEqual(take(), ["reply a", "change", "caught_up"]);
  assert.equal(transport.via, "events");
});

test("the inbox is a stream of its own, and all of it may be asked for", async () => {
  const { server, transport, take } = await welcomed();
  transport.send({ type: "attach", id: "a", inbox: true, all: true });
  await settled();
  const request = server.take("/api/inbox/events");
  assert.deepEqual(request.asked, { all: "1" });
  await (await request.stream()).send(INBOX);
  assert.deepEqual(take(), ["reply a", "inbox"]);
});

test("a stream that ends goes on when its last words say, from where it came to", async () => {
  const { server, stream, take, pass } = await following();
  await stream.send(change(1, 2, { cursor: "2.r.7" }));
  await stream.say("retry: 100\n\n");
  await stream.end();
  await pass(99);
  assert.ok(!server.asked(THREAD));
  await pass(1);
  assert.deepEqual(server.take(THREAD).asked, { cursor: "2.r.7" });
  await (await server.take(THREAD).stream()).send(change(2, 3));
  assert.deepEqual(take(), ["reply a", "change", "change"]);
});

test("detached, it follows no longer", async () => {
  const { server, stream, take, transport } = await following();
  transport.send({ type: "detach", id: "d", thread: "t" });
  assert.ok(server.all.at(-1).signal.aborted);
  await settled();
  assert.deepEqual(take(), ["reply a", "reply d"]);
  await assert.rejects(async () => stream.send(change(1, 2)));
});

test("attached again, the first attachment is over", async () => {
  const { server, transport } = await following();
  transport.send({ type: "attach", id: "b", thread: "t", cursor: "2" });
  await settled();
  const [, first, second] = server.all;
  assert.deepEqual([first.signal.aborted, second.signal.aborted], [true, false]);
  assert.deepEqual(second.asked, { cursor: "2" });
});

test("an attach that is refused is answered by the error", async () => {
  const { server, transport, frames, closes } = await welcomed();
  transport.send({ type: "attach", id: "a", thread: "t" });
  await settled();
  await server.take(THREAD).answer(REFUSAL, 429);
  assert.deepEqual(frames, [{ type: "error", id: "a", ...REFUSAL }]);
  assert.deepEqual(closes, []);
});

test("a thread that goes between two streams is gone", async () => {
  const { server, stream, frames, pass } = await following();
  await stream.end();
  await pass(1000);
  await server.take(THREAD).answer({ code: "not_found", status: 404, message: "No.", retryable: false }, 404);
  assert.deepEqual(frames.at(-1), { type: "gone", thread: "t", code: "not_found" });
  await pass(60_000);
  assert.ok(!server.asked(THREAD));
});

test("a refusal that may pass, between two streams, is waited out", async () => {
  const { server, stream, take, pass, closes } = await following();
  await stream.end();
  await pass(1000);
  await server.take(THREAD).answer(REFUSAL, 429);
  await pass(2999);
  assert.ok(!server.asked(THREAD));
  await pass(1);
  await (await server.take(THREAD).stream()).send(change(1, 2));
  assert.deepEqual([take(), closes], [["reply a", "change"], []]);
});

for (const [what, end, code] of [
  ["a stream that breaks", (server, stream) => stream.fail(), 1006],
  ["a session that ends", (server, stream) => stream.send({ type: "error", id: null, ...SIGNED_OUT }), 4401],
]) {
  test(`${what} is the end of the connection, and of every request`, async () => {
    const { server, stream, transport, closes } = await following();
    transport.send({ type: "attach", id: "b", inbox: true });
    transport.send({ type: "stop", id: "s", thread: "t" });
    await settled();
    await end(server, stream);
    assert.deepEqual(closes, [code]);
    assert.ok(server.all.slice(1).every((request) => request.signal.aborted));
  });
}

test("a stream without a heartbeat for too long is the end", async () => {
  const { stream, closes, pass } = await following();
  for (let i = 0; i < 5; i++) {
    await pass(20_000);
    await stream.send({ type: "heartbeat", n: i });
  }
  assert.deepEqual(closes, []);
  await pass(25_000);
  assert.deepEqual(closes, [1006]);
});

for (const [value, status, code] of [
  [SIGNED_OUT, 401, 4401],
  [{ ...SIGNED_OUT, code: "forbidden" }, 403, 4403],
  [{ ...REFUSAL, code: "internal" }, 500, 1013],
  ["<html>Bad gateway", 502, 1006],
  ["<html>Log in to this hotel's network", 200, 1006],
]) {
  test(`no welcome but ${status} ${value.code ?? value} is a close with ${code}`, async () => {
    const { server, closes } = await open();
    await server.take("/api/me").answer(value, status);
    assert.deepEqual(closes, [code]);
  });
}

test("a request without an answer is given up", async () => {
  const { closes, pass } = await open();
  await pass(15_000);
  assert.deepEqual(closes, [1006]);
});

test("closed by its owner, it says nothing any more", async () => {
  const { server, closes, frames, transport } = await open();
  transport.close();
  assert.ok(server.all[0].signal.aborted);
  await settled();
  assert.deepEqual([closes, frames], [[], []]);
});

test("commands go in their order, those given together in one request, each thread by itself", async () => {
  const { server, transport, take } = await welcomed();
  const command = (id, thread) => ({ type: "send", id, thread });
  for (const [id, thread] of [["1", "t"], ["2", "t"], ["3", "u"], ["4", "t"]]) transport.send(command(id, thread));
  await settled();
  const bodies = [];
  while (server.requests.length) {
    const [request] = server.requests;
    assert.equal(server.requests.length, 1, "one request at a time");
    assert.deepEqual([request.method, request.headers["Content-Type"]], ["POST", "application/json"]);
    bodies.push([request.path, request.body.map(({ id }) => id)]);
    if (bodies.length === 1) transport.send(command("5", "t"));
    await request.answer(request.body.map(({ id }) => ({ type: "reply", id, result: {} })));
  }
  assert.deepEqual(bodies, [
    ["/api/threads/t/commands", ["1", "2"]],
    ["/api/threads/u/commands", ["3"]],
    ["/api/threads/t/commands", ["4", "5"]],
  ]);
  assert.deepEqual(take(), ["reply 1", "reply 2", "reply 3", "reply 4", "reply 5"]);
});

test("many commands are not too many for one request", async () => {
  const { server, transport } = await welcomed();
  for (let id = 0; id < 25; id++) transport.send({ type: "send", id, thread: "t" });
  await settled();
  const sizes = [];
  while (server.requests.length) {
    sizes.push(server.requests[0].body.length);
    await server.requests[0].answer([]);
  }
  assert.deepEqual(sizes, [10, 10, 5]);
});

test("commands that are refused as a whole get an error each, and the next ones go on", async () => {
  const { server, transport, take, closes } = await welcomed();
  for (const id of ["1", "2"]) transport.send({ type: "send", id, thread: "t" });
  await settled();
  await server.requests[0].answer(REFUSAL, 429);
  transport.send({ type: "send", id: "3", thread: "t" });
  await settled();
  await server.requests[0].answer([{ type: "reply", id: "3", result: {} }]);
  assert.deepEqual([take(), closes], [["error 1", "error 2", "reply 3"], []]);
});

test("commands whose request fails have no answer: the connection ends, and they are for the next one", async () => {
  const { server, transport, take, closes } = await welcomed();
  for (const [id, thread] of [["1", "t"], ["2", "u"]]) transport.send({ type: "send", id, thread });
  await settled();
  await server.requests[0].fail();
  assert.deepEqual([take(), closes, server.requests], [[], [1006], []]);
});

test("a search is a request of its own", async () => {
  const { server, transport, frames } = await welcomed();
  transport.send({ type: "send", id: "1", thread: "t" });
  transport.send({ type: "search", id: "s", query: "rain & sun", archived: false, before: "t", limit: undefined });
  await settled();
  const request = server.take("/api/threads");
  assert.deepEqual(request.asked, { query: "rain & sun", archived: "false", before: "t" });
  await request.answer({ items: [], more: false });
  assert.deepEqual(frames, [{ type: "reply", id: "s", result: { items: [], more: false } }]);
});

// ---------------------------------------------------------------------------------------------------------- long polls

test("where a stream's first line is kept back, polls take over, and nobody notices", async () => {
  const { server, transport, take, pass, closes, ways } = await welcomed();
  transport.send({ type: "attach", id: "a", thread: "t", cursor: "1" });
  await settled();
  await pass(5_000);
  await pass(0);
  assert.deepEqual(server.take(POLL).asked, { wait: "0", cursor: "1" });
  await server.take(POLL).answer({ events: [change(1, 2)], cursor: "2", more: false });
  assert.deepEqual(take(), ["reply a", "change", "caught_up"]);
  assert.deepEqual([transport.via, ways.proven, closes], ["polls", "polls", []]);
});

test("a network that keeps back everything is not one that keeps back streams", async () => {
  const { transport, pass, closes, ways } = await welcomed();
  transport.send({ type: "attach", id: "a", thread: "t" });
  await settled();
  await pass(5_000);
  await pass(0);
  await pass(35_000);
  assert.deepEqual([closes, ways.proven], [[1006], null]);
});

async function polling() {
  const opened = await welcomed({ ways: { proven: "polls" } });
  opened.transport.send({ type: "attach", id: "a", thread: "t" });
  await settled();
  return opened;
}

test("a poll asks at once for what there is, then waits for news, and breathes after some", async () => {
  const { server, take, pass } = await polling();
  await server.take(POLL).answer({ events: [change(0, 2)], cursor: "2", more: true });
  await pass(0);
  assert.deepEqual(server.take(POLL).asked, { wait: "0", cursor: "2" });
  await server.take(POLL).answer({ events: [change(2, 3)], cursor: "3", more: false });
  assert.deepEqual(take(), ["reply a", "change", "change", "caught_up"]);
  await pass(299);
  assert.ok(!server.asked(POLL));
  await pass(1);
  assert.deepEqual(server.take(POLL).asked, { wait: "10", cursor: "3" });
  await server.take(POLL).answer({ events: [], cursor: "3", more: false });
  await pass(0);
  assert.deepEqual(server.take(POLL).asked, { wait: "10", cursor: "3" });
  assert.deepEqual(take(), ["heartbeat"], "silence is a sign of life, too");
});

test("who is made to begin anew is told anew when everything is there", async () => {
  const { server, take, pass } = await polling();
  await server.take(POLL).answer({ events: [change(0, 2)], cursor: "2", more: false });
  assert.deepEqual(take(), ["reply a", "change", "caught_up"]);
  await pass(300);
  await server.take(POLL).answer({ events: [change(0, 90)], cursor: "90", more: true });
  await pass(0);
  assert.deepEqual(take(), ["change"]);
  await server.take(POLL).answer({ events: [change(90, 91)], cursor: "91", more: false });
  assert.deepEqual(take(), ["change", "caught_up"]);
});

test("a thread that goes is polled no longer", async () => {
  const { server, take, pass } = await polling();
  const gone = { type: "gone", thread: "t", code: "not_found" };
  await server.take(POLL).answer({ events: [gone], cursor: "2", more: false });
  await pass(60_000);
  assert.deepEqual([take(), server.requests], [["reply a", "gone"], []]);
});
