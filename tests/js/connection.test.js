import assert from "node:assert/strict";
import test from "node:test";

import { Connection } from "../../static/chat/client/connection.js";
import { WebSocketTransport } from "../../static/chat/client/websocket.js";
import { Clock, Socket, WELCOME } from "./doubles.js";

/** With a `fallback` there is another transport beside the websocket: a socket too, of another name. */
function connect({ random = () => 1, token, fallback = false, turn } = {}) {
  const clock = new Clock();
  const sockets = [];
  const states = [];
  const frames = [];
  const open = (...args) => sockets[sockets.push(new Socket(...args)) - 1];
  const connection = new Connection({
    transports: ["websocket", "events"].slice(0, fallback ? 2 : 1).map((name) => () => {
      const transport = new WebSocketTransport({ url: "ws://chat.test/ws/chat/", token, open });
      Object.defineProperty(transport, "via", { value: name });
      Object.assign(sockets.at(-1), { name });
      return transport;
    }),
    turn,
    clock,
    random,
    onframe: (frame) => frames.push(frame),
    onstate: (state) => states.push(state.name),
  });
  return { clock, sockets, states, frames, connection, last: () => sockets.at(-1) };
}

test("it is live when the server has said welcome, by the protocol's name", () => {
  const { connection, states, last } = connect();
  connection.start();
  assert.deepEqual(last().protocols, ["rejoin.v1"]);
  assert.equal(connection.send({ type: "attach" }), false);
  last().say(WELCOME);
  assert.equal(connection.send({ type: "attach" }), true);
  assert.deepEqual(states, ["connecting", "live"]);
});

test("an API token goes with the handshake, as a browser can send it", () => {
  const { connection, last } = connect({ token: "rejoin_x" });
  connection.start();
  assert.deepEqual(last().protocols, ["rejoin.v1", "bearer.rejoin_x"]);
});

test("it comes back for ever, after a quarter of a second that doubles to thirty", () => {
  const { connection, clock, sockets, last } = connect();
  connection.start();
  const waits = [];
  for (let i = 0; i < 12; i++) {
    last().end(1006);
    waits.push(connection.state.until - clock.now());
    clock.pass(waits.at(-1));
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000, 30000]);
  assert.equal(sockets.length, 13);
});

test("the delay is anything up to that, so that a crowd does not come back at once", () => {
  const { connection, clock, last } = connect({ random: () => 0.5 });
  connection.start();
  last().end(1006);
  assert.equal(connection.state.until - clock.now(), 125);
});

test("a connection that held for a while begins the delays anew, one that fell at once does not", () => {
  const { connection, clock, last } = connect();
  connection.start();
  const fall = (lived) => {
    last().say(WELCOME);
    clock.pass(lived);
    last().end(1006);
    const wait = connection.state.until - clock.now();
    clock.pass(wait);
    return wait;
  };
  assert.deepEqual([fall(10), fall(10), fall(10), fall(6000), fall(10)], [250, 500, 1000, 250, 500]);
});

for (const code of [4400, 4401, 4403]) {
  test(`closed with ${code}, it does not come back by itself`, () => {
    const { connection, clock, sockets, last } = connect();
    connection.start();
    last().say(WELCOME);
    last().end(code);
    clock.pass(600_000);
    connection.wake();
    assert.deepEqual(connection.state, { name: "refused", code });
    assert.equal(sockets.length, 1);
    connection.start();
    assert.equal(sockets.length, 2);
  });
}

for (const code of [1000, 1001, 1006, 1011, 1012, 1013, 4408, 4429]) {
  test(`closed with ${code}, it comes back`, () => {
    const { connection, clock, sockets, last } = connect();
    connection.start();
    last().say(WELCOME);
    last().end(code);
    clock.pass(connection.state.until - clock.now());
    assert.equal(sockets.length, 2);
  });
}

test("a server that restarts is met again within a second, one that says later is left alone for longer", () => {
  const { connection, clock, last } = connect();
  connection.start();
  last().say(WELCOME);
  last().end(1012);
  assert.equal(connection.state.until - clock.now(), 1000);
  clock.pass(1000);
  last().end(1013);
  assert.equal(connection.state.until - clock.now(), 8000);
});

test("it wakes at once from waiting", () => {
  const { connection, clock, sockets, last } = connect();
  connection.start();
  for (let i = 0; i < 7; i++) {
    last().end(1006);
    if (i < 6) clock.pass(30_000);
  }
  const before = sockets.length;
  connection.wake();
  assert.equal(sockets.length, before + 1);
  clock.pass(9_000);
  assert.equal(sockets.length, before + 1, "the timer of the wait is gone");
});

test("waking does not disturb a connection that was heard of a moment ago, and replaces a silent one", () => {
  const { connection, clock, sockets, last } = connect();
  connection.start();
  last().say(WELCOME);
  clock.pass(5_000);
  connection.wake();
  assert.equal(sockets.length, 1);
  clock.pass(8_000);
  connection.wake();
  assert.equal(sockets.length, 2);
  assert.equal(sockets[0].open, false);
});

test("a connection that is silent for longer than heartbeats allow is given up", () => {
  const { connection, clock, states, sockets, last } = connect();
  connection.start();
  last().say(WELCOME);
  for (let i = 1; i <= 5; i++) {
    clock.pass(20_000);
    last().say({ type: "heartbeat", n: i });
  }
  assert.equal(sockets.length, 1);
  clock.pass(25_000);
  assert.deepEqual(states, ["connecting", "live", "waiting"]);
  clock.pass(250);
  assert.equal(sockets.length, 2);
});

test("a handshake without a welcome is given up", () => {
  const { connection, clock, states } = connect();
  connection.start();
  clock.pass(15_000);
  assert.deepEqual(states, ["connecting", "waiting"]);
});

test("what an abandoned socket still says is not heard", () => {
  const { connection, clock, sockets, frames, last } = connect();
  connection.start();
  last().say(WELCOME);
  clock.pass(25_000);
  clock.pass(250);
  sockets[0].say({ type: "change" });
  sockets[0].end(1006);
  assert.deepEqual(frames.map((frame) => frame.type), ["welcome"]);
  assert.equal(connection.state.name, "connecting");
});

test("a heartbeat is answered after what came before it was applied", () => {
  const order = [];
  const { connection, last } = connect();
  connection.onframe = (frame) => order.push(`applied ${frame.type}`);
  connection.start();
  last().send = (data) => order.push(`sent ${data}`);
  last().say(WELCOME, { type: "delta" }, { type: "heartbeat", n: 7 });
  assert.deepEqual(order, ["applied welcome", "applied delta", "applied heartbeat", 'sent {"type":"ack","n":7}']);
});

test("closed by us, it stays closed until it is woken", () => {
  const { connection, clock, sockets, last } = connect();
  connection.start();
  last().say(WELCOME);
  connection.close();
  clock.pass(600_000);
  assert.equal(connection.state.name, "closed");
  assert.equal(sockets[0].closedWith, 1000);
  connection.wake();
  assert.equal(sockets.length, 2);
});

// --------------------------------------------------------------------------------------------- more than one transport

/** A connection whose websocket was refused twice, and which is live by event streams. */
function fallen() {
  const connected = connect({ fallback: true });
  const { connection, clock, last } = connected;
  /** The newest socket ends, and the next one is opened. */
  const next = (code = 1006) => {
    last().end(code);
    clock.pass(connection.state.until - clock.now());
  };
  connection.start();
  next();
  next();
  last().say(WELCOME);
  return { ...connected, next };
}

test("when two handshakes in a row have failed, the next transport has its turn", () => {
  const { connection, sockets, states } = fallen();
  assert.deepEqual(sockets.map(({ name }) => name), ["websocket", "websocket", "events"]);
  assert.deepEqual([connection.live, connection.via], [true, "events"]);
  assert.deepEqual(states, ["connecting", "waiting", "connecting", "waiting", "connecting", "live"]);
});

test("a handshake that disappears on its way fails sooner than one that gets through", () => {
  const { connection, clock, last } = connect({ fallback: true });
  connection.start();
  clock.pass(6_000);
  assert.equal(connection.state.name, "waiting");
  clock.pass(250);
  last().onopen();
  clock.pass(14_999);
  assert.equal(connection.state.name, "connecting", "the server may be waiting for its database");
  clock.pass(1);
  clock.pass(500);
  assert.equal(connection.via, "events", "but without a welcome it is of no use");
});

test("a connection that has been, or a server that says later, is no failed handshake", () => {
  const { connection, clock, sockets, last } = connect({ fallback: true });
  connection.start();
  for (const code of [1006, 1012, 1013, 1006, 1000]) {
    if (code === 1006) last().say(WELCOME);
    last().end(code);
    clock.pass(connection.state.until - clock.now());
  }
  assert.ok(sockets.every(({ name }) => name === "websocket"));
});

test("when nothing gets through, the transports take turns", () => {
  const { connection, clock, sockets, last } = connect({ fallback: true });
  connection.start();
  for (let i = 0; i < 6; i++) {
    last().end(1006);
    clock.pass(connection.state.until - clock.now());
  }
  const turns = ["websocket", "websocket", "events", "websocket", "events", "websocket", "events"];
  assert.deepEqual(sockets.map(({ name }) => name), turns);
});

test("a transport that was of use is the one to come back by", () => {
  const { connection, next } = fallen();
  next();
  assert.equal(connection.via, "events");
});

test("where it is known that no websocket gets through, another transport begins, and the websocket is tried beside it", () => {
  const { connection, clock, sockets, last } = connect({ fallback: true, turn: 1 });
  connection.start();
  last().say(WELCOME);
  assert.deepEqual([connection.live, connection.via, sockets.length], [true, "events", 1]);
  clock.pass(10_000);
  last().say(WELCOME);
  assert.deepEqual([connection.live, connection.via, sockets.length], [true, "websocket", 2]);
});

test("what is known may be wrong: then the transports take turns", () => {
  const { connection, clock, sockets, last } = connect({ fallback: true, turn: 1 });
  connection.start();
  for (let i = 0; i < 3; i++) {
    last().end(1006);
    clock.pass(connection.state.until - clock.now());
  }
  assert.deepEqual(sockets.map(({ name }) => name), ["events", "websocket", "events", "websocket"]);
});

test("beside another transport the websocket is tried again, less and less often", () => {
  const { clock, sockets, states, last } = fallen();
  const tries = [];
  const begin = clock.now();
  while (tries.length < 8) {
    clock.pass(1_000);
    sockets[2].say({ type: "heartbeat", n: tries.length });
    if (last().name !== "websocket" || !last().open) continue;
    tries.push((clock.now() - begin) / 1000);
    last().end(1006);
  }
  assert.deepEqual(tries, [10, 30, 70, 150, 310, 610, 910, 1210]);
  assert.equal(states.at(-1), "live");
  assert.ok(sockets[2].open, "and nothing falls meanwhile");
});

test("a websocket that gets through takes over with its welcome, and is the first to come back by", () => {
  const { connection, clock, sockets, states, frames, last, next } = fallen();
  clock.pass(10_000);
  last().onopen();
  assert.ok(sockets[2].open);
  last().say(WELCOME);
  assert.deepEqual([connection.via, sockets[2].open], ["websocket", false]);
  assert.deepEqual(states.slice(-2), ["live", "live"]);
  sockets[2].say({ type: "change" });
  last().say({ type: "delta" });
  assert.deepEqual(frames.map(({ type }) => type), ["welcome", "welcome", "delta"]);
  clock.pass(20_000);
  assert.equal(sockets.length, 4, "there is nothing more to try");
  next();
  assert.equal(connection.via, "websocket");
});

test("woken, it tries the websocket at once beside a transport that was heard of a moment ago", () => {
  const { connection, sockets, last } = fallen();
  connection.wake();
  assert.deepEqual([sockets.length, last().name, connection.live], [4, "websocket", true]);
});

test("a try that nobody answers is given up", () => {
  const { clock, sockets } = fallen();
  clock.pass(10_000);
  sockets[2].say({ type: "heartbeat", n: 1 });
  clock.pass(15_000);
  assert.deepEqual([sockets[3].open, sockets[2].open], [false, true]);
});

for (const [how, end] of [
  ["that is closed", ({ connection }) => connection.close()],
  ["that falls", ({ sockets }) => sockets[2].end(1006)],
]) {
  test(`a connection ${how} takes the try beside it along`, () => {
    const opened = fallen();
    opened.clock.pass(10_000);
    end(opened);
    const try_ = opened.sockets[3];
    assert.equal(try_.open, false);
    try_.say(WELCOME);
    assert.notEqual(opened.connection.state.name, "live");
  });
}
