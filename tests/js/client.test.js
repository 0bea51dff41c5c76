import assert from "node:assert/strict";
import test from "node:test";

import { Client, OTHER_USER, Refused } from "../../static/chat/client/client.js";
import { caughtUp, change, Clock, delta, messageRow, runRow, Socket, WELCOME } from "./doubles.js";

function open({ store, user } = {}) {
  const clock = new Clock();
  const sockets = [];
  const client = new Client({
    url: "ws://chat.test/ws/chat/",
    open: (...args) => sockets[sockets.push(new Socket(...args)) - 1],
    clock,
    random: () => 0.5,
    store,
    user,
  });
  const server = {
    clock,
    sockets,
    get socket() {
      return sockets.at(-1);
    },
    /** The connection falls and a new one is welcomed. */
    reconnect() {
      this.socket.end(1006);
      clock.pass(client.connection.state.until - clock.now());
      this.socket.say(WELCOME);
    },
    answer: (frame, result = {}) => server.socket.say({ type: "reply", id: frame.id, result }),
    refuse: (frame, error) => server.socket.say({ type: "error", id: frame.id, ...REFUSAL, ...error }),
  };
  client.start();
  return { client, server };
}

const REFUSAL = { code: "rate_limited", status: 429, message: "Too many.", retryable: true };

function live(options) {
  const opened = open(options);
  opened.server.socket.say(WELCOME);
  return opened;
}

const kinds = (socket) => socket.sent.map((frame) => frame.type);

test("a page of one person sends nothing when somebody else has signed in", () => {
  const { client, server } = open({ user: WELCOME.user.id });
  server.socket.say(WELCOME);
  server.socket.end(1006);
  client.do("send", { thread: "t", message: "m", run: "r", text: "mine" }).catch(() => {});
  server.clock.pass(client.connection.state.until - server.clock.now());
  server.socket.say({ ...WELCOME, user: { ...WELCOME.user, id: "another" } });
  assert.deepEqual(client.connection.state, { name: "refused", code: OTHER_USER });
  assert.deepEqual(kinds(server.socket), []);
  server.clock.pass(60_000);
  assert.equal(server.sockets.length, 2, "it does not come back by itself");
});

test("on every welcome the inbox and the followed threads are attached with their cursors", () => {
  const { client, server } = live();
  client.follow("t");
  assert.deepEqual(server.socket.take("attach").map(({ thread, inbox, cursor }) => ({ thread, inbox, cursor })), [
    { thread: undefined, inbox: true, cursor: undefined },
    { thread: "t", inbox: undefined, cursor: undefined },
  ]);
  server.socket.say({ type: "inbox", from: 0, to: 4, items: [], removed: [], cursor: "4" });
  server.socket.say(change(0, 2, { messages: [messageRow("q", { text: "hi" })] }), caughtUp());
  server.reconnect();
  assert.deepEqual(server.socket.take("attach").map((frame) => frame.cursor), ["4", "2"]);
});

test("the page's first frames give the cursor to attach with", () => {
  const { client, server } = open();
  client.apply({ type: "inbox", from: 0, to: 4, items: [], removed: [], cursor: "4" });
  client.apply(change(0, 7, { row: { head: "q" }, messages: [messageRow("q", { text: "hi" })] }));
  client.apply(caughtUp("7"));
  client.follow("t");
  server.socket.say(WELCOME);
  assert.deepEqual(server.socket.take("attach").map((frame) => frame.cursor), ["4", "7"]);
});

test("commands without a reply are sent again after the attach, with the same ids in the same order", async () => {
  const { client, server } = open();
  client.follow("t");
  client.do("send", { thread: "t", message: "m", run: "r", text: "while offline" });
  server.socket.say(WELCOME);
  const reply = client.do("stop", { thread: "t", run: "r" });
  const [send, stop] = client.outbox.unanswered;
  assert.deepEqual(kinds(server.socket), ["attach", "attach", "send", "stop"]);
  server.answer(send);
  server.reconnect();
  assert.deepEqual(server.socket.sent.slice(2), [stop]);
  server.answer(stop, { ok: true });
  assert.deepEqual(await reply, { ok: true });
  server.reconnect();
  assert.deepEqual(kinds(server.socket), ["attach", "attach"]);
});

test("a refused command rejects with the server's error", async () => {
  const { client, server } = live();
  const reply = client.do("stop", { thread: "t", run: "r" });
  server.refuse(client.outbox.unanswered[0], { code: "conflict" });
  await assert.rejects(reply, (error) => error instanceof Refused && error.error.code === "conflict");
  assert.equal(client.outbox.entries.length, 0);
});

test("a refused message stays in the outbox and can be sent again, with the same message id", async () => {
  const { client, server } = live();
  const reply = client.do("send", { thread: "t", message: "m", run: "r", text: "hello" });
  const [first] = server.socket.take("send");
  server.refuse(first);
  await assert.rejects(reply);
  assert.equal(client.outbox.entries[0].error.code, "rate_limited");
  server.reconnect();
  assert.deepEqual(server.socket.take("send"), [], "what was refused is not sent by itself");
  client.retry("t");
  const [second] = server.socket.take("send");
  assert.equal(second.message, "m");
  assert.equal(second.id, first.id, "it may have been done after all");
  server.answer(second);
  assert.deepEqual(client.outbox.entries, []);
});

test("a refused new chat is given up with its message", async () => {
  const { client, server } = live();
  const replies = [client.do("create", { thread: "n" }), client.do("send", { thread: "n", message: "m", text: "x" })];
  for (const command of client.outbox.unanswered) server.refuse(command);
  await Promise.allSettled(replies);
  assert.equal(client.outbox.entries.length, 2);
  client.outbox.discard(client.outbox.entries[1].command.id);
  assert.deepEqual(client.outbox.entries, []);
});

test("a reply that comes before the change it speaks of waits for it", async () => {
  const { client, server } = live();
  client.follow("t");
  server.socket.say(change(0, 2, { messages: [messageRow("q", { text: "hi" })] }), caughtUp());
  const order = [];
  const later = client.do("update", { thread: "t", title: "new" }).then(() => order.push("reply"));
  client.transcript("t").addEventListener("rows", () => order.push("rows"));
  server.answer(server.socket.take("update")[0], { version: 4 });
  await null;
  server.socket.say(change(2, 3));
  await null;
  server.socket.say(change(3, 4));
  await later;
  assert.deepEqual(order, ["rows", "rows", "reply"]);
});

for (const [what, leave] of [
  ["the thread is gone", ({ server }) => server.socket.say({ type: "gone", thread: "t", code: "not_found" })],
  ["nobody follows the thread any more", ({ client }) => client.unfollow("t")],
]) {
  test(`a reply does not wait for a change when ${what}`, async () => {
    const opened = live();
    opened.client.follow("t");
    opened.server.socket.say(change(0, 2, { messages: [messageRow("q", { text: "hi" })] }), caughtUp());
    const reply = opened.client.delete("t");
    opened.server.answer(opened.server.socket.take("delete")[0], { version: 3 });
    assert.equal(opened.client.outbox.unanswered.length, 1);
    leave(opened);
    assert.deepEqual(await reply, { version: 3 });
  });
}

test("a reply that waits is given again after a reconnect", async () => {
  const { client, server } = live();
  client.follow("t");
  server.socket.say(change(0, 2, { messages: [messageRow("q", { text: "hi" })] }), caughtUp());
  const reply = client.update("t", { title: "new" });
  server.answer(server.socket.take("update")[0], { version: 3 });
  server.reconnect();
  server.socket.say(change(2, 3));
  server.answer(server.socket.take("update")[0], { version: 3 });
  assert.deepEqual(await reply, { version: 3 });
});

test("a new thread is attached when the server has it, not before", () => {
  const { client, server } = live();
  client.do("create", { thread: "n" });
  client.follow("n");
  client.do("send", { thread: "n", message: "m", run: "r", text: "first" });
  assert.deepEqual(kinds(server.socket), ["attach", "create", "send"]);
  server.reconnect();
  assert.deepEqual(kinds(server.socket), ["attach", "create", "send"]);
  server.answer(server.socket.take("create")[0]);
  assert.equal(server.socket.take("attach")[1].thread, "n");
});

test("every command has a call that makes its ids, and says what was seen unless it is told", async () => {
  const { client, server } = live();
  client.follow("t");
  const question = messageRow("q", { text: "why?", run: "r" });
  server.socket.say(change(0, 2, { row: { head: "q" }, messages: [question], runs: [runRow("r")] }), caughtUp());
  server.socket.say(delta(1_000_000, 1_000_002, [["start", "a", {}], ["text", "a", "a 👍🏽"]]));
  const replies = [
    client.create("n", { title: "New" }),
    client.send("t", "now", { on_busy: "interrupt" }),
    client.send("t", "later", { on_busy: "reject", parent: "p" }),
    client.edit("t", "q", "instead"),
    client.regenerate("t", "a", { seen: { a: 1 }, model: "m" }),
    client.continue("t", "a"),
    client.select("t", "a"),
    client.stop("t", "r"),
    client.stop("u", "r"),
    client.read("t", "a"),
    client.update("t", { pinned: true }),
    client.delete("t"),
    client.search("rain"),
  ];
  const ids = ({ id, message, run, ...rest }) => rest;
  const frames = server.socket.sent.slice(-replies.length);
  assert.deepEqual(frames.map(ids), [
    { type: "create", thread: "n", title: "New" },
    { type: "send", thread: "t", text: "now", seen: { a: 4 }, on_busy: "interrupt" },
    { type: "send", thread: "t", text: "later", on_busy: "reject", parent: "p" },
    { type: "edit", thread: "t", of: "q", text: "instead", seen: { a: 4 } },
    { type: "regenerate", thread: "t", of: "a", seen: { a: 1 }, model: "m" },
    { type: "continue", thread: "t", of: "a" },
    { type: "select", thread: "t" },
    { type: "stop", thread: "t", seen: { a: 4 } },
    { type: "stop", thread: "u" },
    { type: "read", thread: "t" },
    { type: "update", thread: "t", pinned: true },
    { type: "delete", thread: "t" },
    { type: "search", query: "rain" },
  ]);
  for (const frame of frames) server.answer(frame);
  const [created, { message, run }, , edited, again, further] = await Promise.all(replies);
  assert.equal(created, "n");
  assert.deepEqual([message, run], [frames[1].message, frames[1].run]);
  assert.equal(edited.run, frames[3].run);
  assert.deepEqual([again, further], [frames[4].run, frames[5].run]);
});

test("earlier messages are asked for before the first that is held, and added", async () => {
  const { client, server } = live();
  const transcript = client.follow("t");
  server.socket.say(change(0, 2, { row: { head: "2" }, messages: [messageRow("2", { parent: "1", text: "b" })] }));
  server.socket.say(caughtUp());
  const reply = client.history("t", 10);
  const [asked] = server.socket.take("history");
  assert.deepEqual([asked.before, asked.limit], ["2", 10]);
  server.answer(asked, { messages: [messageRow("1", { text: "a" })], runs: [], more: false });
  assert.equal(await reply, false);
  assert.deepEqual(transcript.path.map((message) => message.text), ["a", "b"]);
  assert.equal(await client.history("t"), false, "nothing is before that");
});

test("a command that the server could not read is refused here, and what was written is kept", async () => {
  const { client, server } = live();
  const text = "漢".repeat(30_000);
  await assert.rejects(client.send("t", text), (refused) => refused.error.code === "too_large");
  client.retry("t");
  assert.deepEqual(server.socket.take("send"), []);
  assert.deepEqual(client.outbox.entries.map(({ command, error }) => [command.text, error.code]), [[text, "too_large"]]);
  await assert.rejects(client.update("t", { system_prompt: text }), (refused) => refused.error.code === "too_large");
  assert.equal(client.outbox.entries.length, 1);
});

test("a detach that is refused is made again, unless the thread is wanted again", () => {
  const { client, server } = live();
  const transcript = client.follow("t");
  server.socket.say(change(0, 2, { row: { head: "q" }, messages: [messageRow("q", { text: "hi" })] }), caughtUp());
  const detaches = () => server.socket.take("detach");
  client.unfollow("t");
  server.refuse(detaches()[0], { retry_after: 1 });
  server.clock.pass(1_000);
  assert.equal(detaches().length, 2);
  client.follow("t");
  server.refuse(detaches()[1], { retry_after: 1 });
  server.clock.pass(1_000);
  assert.equal(detaches().length, 2);
  server.socket.say(change(2, 3));
  assert.equal(transcript.version, 3);
});

test("the outbox survives a reload, except for questions", () => {
  let saved = [];
  const store = { load: () => structuredClone(saved), save: (entries) => (saved = structuredClone(entries)) };
  const { client } = open({ store });
  client.do("send", { thread: "t", message: "m", run: "r", text: "kept" });
  client.do("history", { thread: "t", before: "m" });
  const { server } = live({ store });
  assert.deepEqual(kinds(server.socket), ["attach", "send"]);
  server.answer(server.socket.take("send")[0]);
  assert.deepEqual(saved, []);
});

test("after switching away and back, what was sent before the server knew is not applied", () => {
  const { client, server } = live();
  const transcript = client.follow("t");
  const question = messageRow("q", { text: "why?", run: "r" });
  server.socket.say(change(0, 2, { row: { head: "q" }, messages: [question], runs: [runRow("r")] }), caughtUp());
  server.socket.say(delta(1_000_000, 1_000_002, [["start", "a", {}], ["text", "a", "one "]]));
  client.unfollow("t");
  client.follow("t");
  assert.equal(server.socket.take("attach").at(-1).cursor, "2.r.1000002");
  server.socket.say(delta(1_000_002, 1_000_003, [["text", "a", "two "]]));
  server.answer(server.socket.take("detach")[0]);
  server.socket.say(delta(1_000_002, 1_000_004, [["text", "a", "two three"]]), caughtUp("2.r.1000004"));
  assert.equal(transcript.messages.get("a").text, "one two three");
  assert.equal(transcript.gaps, 0);
});

test("a gap is mended by attaching once, from where we are, and then from nothing", () => {
  const { client, server } = live();
  client.follow("t");
  const question = messageRow("q", { text: "why?", run: "r" });
  server.socket.say(change(0, 2, { row: { head: "q" }, messages: [question], runs: [runRow("r")] }), caughtUp());
  const attaches = () => server.socket.take("attach").filter((frame) => frame.thread === "t");
  for (const seq of [1_000_005, 1_000_006]) server.socket.say(delta(seq, seq + 1, [["text", "a", "?"]]));
  assert.deepEqual(attaches().map((frame) => frame.cursor), [undefined, "2"]);
  server.answer(server.socket.take("detach")[0]);
  server.socket.say(delta(1_000_005, 1_000_006, [["text", "a", "?"]]));
  assert.deepEqual(attaches().map((frame) => frame.cursor), [undefined, "2", undefined]);
});

test("a thread that is not ours is lost, one that the server could not read now is attached again", () => {
  const { client, server } = live();
  const transcript = client.follow("t");
  server.refuse(server.socket.take("attach")[1], { code: "internal", retryable: true });
  server.clock.pass(2_000);
  assert.equal(server.socket.take("attach").length, 3);
  server.refuse(server.socket.take("attach")[2], { code: "not_found", retryable: false });
  assert.equal(transcript.gone, "not_found");
});

test("older chats are asked for by search, once there are any", async () => {
  const { client, server } = live();
  const item = { id: "a", version: 7, title: "", status: "idle", unread: false, pinned: false, archived: false };
  const begin = { type: "inbox", from: 0, to: 7, items: [item], removed: [], cursor: "7" };
  server.socket.say(begin);
  await client.older();
  assert.deepEqual(server.socket.take("search"), []);
  server.socket.say({ ...begin, older: true });
  const brought = client.older();
  const [{ id, ...asked }] = server.socket.take("search");
  assert.deepEqual(asked, { type: "search", archived: false, limit: 100, before: "a" });
  server.answer({ id }, { items: [{ ...item, id: "b", version: 3 }], more: false });
  await brought;
  assert.deepEqual([...client.inbox.items.keys()], ["a", "b"]);
});

test("errors that answer no command of ours are told", () => {
  const { client, server } = live();
  const faults = [];
  client.addEventListener("fault", (event) => faults.push(event.detail.code));
  server.socket.say({ type: "error", id: null, code: "bad_frame", status: 400, message: "?", retryable: false });
  assert.deepEqual(faults, ["bad_frame"]);
});

test("wherever the connection is cut, every command is done once and in order", () => {
  for (let seed = 1; seed <= 150; seed++) {
    let state = seed;
    const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
    const { client, server } = open();
    const done = [];
    /** The server handles what has arrived, as far as the cut lets it; each reply may be lost with the connection. */
    const handle = () => {
      const frames = server.socket.sent.splice(0);
      const arrived = frames.slice(0, Math.floor(random() * (frames.length + 1)));
      for (const frame of arrived) {
        if (frame.type !== "send") continue;
        if (!done.includes(frame.message)) done.push(frame.message);
        if (random() < 0.5) server.answer(frame);
        else break;
      }
    };
    for (let i = 0; i < 12; i++) {
      client.do("send", { thread: "t", message: i, run: `r${i}`, text: "x" });
      if (random() < 0.6) {
        handle();
        server.reconnect();
      }
    }
    for (let tries = 0; client.outbox.unanswered.length && tries < 500; tries++) {
      handle();
      server.reconnect();
    }
    assert.deepEqual(done, Array.from({ length: 12 }, (_, i) => i), `seed ${seed}`);
  }
});
