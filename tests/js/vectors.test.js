import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import { Inbox } from "../../static/chat/client/inbox.js";
import { Transcript } from "../../static/chat/client/transcript.js";

const VECTORS = new URL("../vectors/", import.meta.url);
const files = readdirSync(VECTORS).filter((name) => name.endsWith(".json"));

const pick = (names) => (row) => Object.fromEntries(names.map((name) => [name, row[name]]));

function show(replica) {
  const { version, cursor } = replica;
  if (replica instanceof Inbox) {
    return { items: replica.list().map(pick(["id", "title", "status", "unread"])), version, cursor };
  }
  const path = replica.path.map(pick(["id", "role", "status", "text", "reasoning", "reasoning_ms"]));
  return { path, queued: replica.queued.map((message) => message.id), version, cursor, gone: replica.gone };
}

for (const file of files) {
  const vector = JSON.parse(readFileSync(new URL(file, VECTORS), "utf-8"));
  test(`vector: ${vector.about}`, () => {
    const replica = vector.inbox ? new Inbox() : new Transcript(vector.thread);
    const effects = vector.frames.map((frame) => replica.apply(frame));
    assert.deepEqual(effects, vector.effects);
    assert.equal(replica.gaps, effects.filter((effect) => effect === "gap").length);
    assert.deepEqual({ ...show(replica), resync: effects.includes("gap") }, vector.expected);
  });
}

test("there are vectors", () => assert.ok(files.length >= 35));
