import assert from "node:assert/strict";
import test from "node:test";

import { Client } from "../../static/chat/client/client.js";
import { Clock, Server, settled, Socket, WELCOME } from "./doubles.js";

/** Somebody with a page that is live. */
function live() {
  const server = new Server();
  const sockets = [];
  const client = new Client({
    url: "ws://chat.test/ws/chat/",
    user: WELCOME.user.id,
    headers: () => ({ "X-CSRFToken": "crumb" }),
    open: (...args) => sockets[sockets.push(new Socket(...args)) - 1],
    fetch: server.fetch,
    clock: new Clock(),
  });
  client.start();
  sockets[0].say(WELCOME);
  return { client, server, socket: sockets[0] };
}

/** Ids of the commands that each request says. */
const said = (server) => server.all.map(({ path, body }) => [path, body.map(({ id }) => id)]);

test("who leaves says what has no reply by requests that outlive the page, each thread's in their order", () => {
  const { client, server, socket } = live();
  client.delete("one");
  client.update("two", { title: "Two" });
  client.update("two", { pinned: true });
  client.flush();
  const ids = socket.sent.filter(({ type }) => type !== "attach").map(({ id }) => id);
  assert.deepEqual(said(server), [
    ["/api/threads/one/commands", [ids[0]]],
    ["/api/threads/two/commands", [ids[1], ids[2]]],
  ]);
  for (const request of server.all) {
    assert.equal(request.keepalive, true);
    assert.equal(request.headers["X-CSRFToken"], "crumb");
  }
});

test("what was answered, and what is only a question, is not said again", () => {
  const { client, server, socket } = live();
  client.delete("one");
  client.search("word").catch(() => {});
  socket.say({ type: "reply", id: socket.sent.find(({ type }) => type === "delete").id, result: {} });
  client.flush();
  assert.deepEqual(said(server), []);
});

test("a thread is not created for whoever may be signed in by now", () => {
  const { client, server } = live();
  client.create("new");
  client.send("new", "Hello");
  client.flush();
  assert.deepEqual(said(server), []);
});

test("who has been signed out says nothing more", () => {
  const { client, server, socket } = live();
  client.delete("one");
  socket.end(4401);
  client.flush();
  assert.deepEqual(said(server), []);
});

test("without a network it stays where it was, to be said when the page is back", async () => {
  const { client, server } = live();
  client.delete("one");
  client.flush();
  await server.all[0].fail();
  await settled();
  assert.equal(client.outbox.changes.length, 1);
});
