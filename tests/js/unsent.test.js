import assert from "node:assert/strict";
import { test } from "node:test";

import { Outbox } from "../../static/chat/client/outbox.js";
import { memory } from "../../static/chat/page/memory.js";
import { Unsent } from "../../static/chat/page/unsent.js";

/** A browser's storage, of which every page has its own view. */
class Storage {
  constructor() {
    Object.defineProperties(this, {
      getItem: { value: (key) => this[key] ?? null },
      setItem: { value: (key, text) => void (this[key] = text), configurable: true },
      removeItem: { value: (key) => void delete this[key] },
    });
  }
}

const page = (storage, user = 1) => {
  const unsent = new Unsent(memory(storage, `rejoin:${user}:`), () => 1_000);
  return { unsent, outbox: new Outbox(unsent) };
};
const send = (id, fields = {}) => ({ type: "send", id, thread: "t", message: `m-${id}`, text: id, ...fields });
const texts = (outbox) => outbox.unanswered.map((command) => command.text);

test("what a tab could not send is there for the next page, in its order, and only for the same user", () => {
  const storage = new Storage();
  const { outbox } = page(storage);
  for (const id of ["b", "a", "c"]) outbox.add(send(id));
  assert.deepEqual(texts(page(storage).outbox), ["b", "a", "c"]);
  assert.deepEqual(texts(page(storage, 2).outbox), []);
});

test("tabs write over nothing of each other's", () => {
  const storage = new Storage();
  const [one, other] = [page(storage), page(storage)];
  one.outbox.add(send("of one"));
  other.outbox.add(send("of the other"));
  one.outbox.settle("of one", {});
  assert.deepEqual(texts(page(storage).outbox), ["of the other"]);
});

test("what comes later stands behind what another page has kept, though its clock stands still", () => {
  const storage = new Storage();
  page(storage).outbox.add(send("first"));
  const later = page(storage).outbox;
  later.add(send("second"));
  assert.deepEqual(texts(page(storage).outbox), ["first", "second"]);
});

test("a refused message is kept with its error, and one that was handed out as such", () => {
  const storage = new Storage();
  const { outbox } = page(storage);
  outbox.add(send("refused")).catch(() => {});
  outbox.settle("refused", null, { code: "busy", message: "" });
  outbox.add(send("on its way"));
  outbox.hand("on its way");
  const kept = page(storage).outbox.entries.map(({ error, handed }) => [error?.code, handed]);
  assert.deepEqual(kept, [["busy", false], [undefined, true]]);
});

test("what was never handed out can be taken back, and nothing else that awaits its reply", () => {
  const { outbox } = page(new Storage());
  outbox.add({ type: "create", id: "create", thread: "t" });
  outbox.add(send("never"));
  outbox.add(send("on its way", { thread: "u" }));
  outbox.hand("on its way");
  assert.equal(outbox.discard("on its way"), false);
  assert.equal(outbox.discard("never"), true);
  assert.deepEqual(texts(outbox), ["on its way"], "and the chat that nothing else is said in is not made");
});

test("a storage event of another page takes away what nobody here has handed out", () => {
  const storage = new Storage();
  const { unsent, outbox } = page(storage);
  for (const id of ["waits", "on its way"]) outbox.add(send(id));
  outbox.hand("on its way");
  const removed = (id, newValue = null) => ({ key: `rejoin:1:unsent:${id}`, newValue });
  for (const event of [removed("waits", "{}"), removed("unknown"), { key: "else", newValue: null }, { key: null, newValue: null }]) {
    assert.equal(unsent.gone(event), undefined);
  }
  for (const id of ["waits", "on its way"]) outbox.drop(unsent.gone(removed(id)));
  assert.deepEqual(texts(outbox), ["on its way"]);
});

test("what is no entry is left alone", () => {
  const storage = new Storage();
  storage.setItem("rejoin:1:unsent:x", "{");
  storage.setItem("rejoin:1:unsent:y", '{"at": 1, "entry": {"command": {"id": "z"}}}');
  storage.setItem("rejoin:1:draft:t", "half a thought");
  assert.deepEqual(page(storage).outbox.entries, []);
});

test("a browser that stores nothing keeps it as long as the page is there", () => {
  const storage = new Storage();
  Object.defineProperty(storage, "setItem", { value: () => { throw new DOMException("full"); } });
  const { unsent, outbox } = page(storage);
  outbox.add(send("kept"));
  assert.deepEqual(unsent.load().map(({ command }) => command.text), ["kept"]);
});
