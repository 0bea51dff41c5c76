import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Inbox } from "../../static/chat/client/inbox.js";

/** Items as a server has them: the higher the number, the newer. */
function item(number, fields = {}) {
  const usual = { status: "idle", unread: false, pinned: false, archived: false, title: `chat ${number}` };
  const updated_at = new Date(number * 1000).toISOString();
  return { ...usual, id: `t${number}`, version: number, updated_at, ...fields };
}

function event(from, to, items, fields = {}) {
  return { type: "inbox", from, to, items, removed: [], cursor: `${to}`, ...fields };
}

const ids = (items) => items.map(({ id }) => id);

/** A server with these items, which answers searches a few at a time. */
function server(all, size = 3) {
  const asked = [];
  return {
    asked,
    ask: async (what) => {
      asked.push(what);
      const before = what.before === undefined ? Infinity : all.find(({ id }) => id === what.before).version;
      const found = all.filter(({ archived, version }) => archived === what.archived && version < before);
      found.sort((a, b) => b.version - a.version);
      return { items: found.slice(0, size), more: found.length > size };
    },
  };
}

test("pinned chats come first, then the latest, and archived ones are a list of their own", () => {
  const inbox = new Inbox();
  inbox.apply(event(0, 5, [item(1, { pinned: true }), item(2), item(3, { archived: true }), item(4), item(5)]));
  assert.deepEqual(ids(inbox.list()), ["t1", "t5", "t4", "t2"]);
  assert.deepEqual(ids(inbox.list([], true)), ["t3"]);
});

test("the list shows what is about to be changed", () => {
  const inbox = new Inbox();
  inbox.apply(event(0, 3, [item(1), item(2), item(3)]));
  const commands = [
    { type: "update", thread: "t1", pinned: true },
    { type: "update", thread: "t1", title: "first" },
    { type: "update", thread: "t2", archived: true },
    { type: "delete", thread: "t3" },
    { type: "create", thread: "t4" },
    { type: "update", thread: "t4", title: "fourth" },
    { type: "update", thread: "elsewhere", title: "?" },
    { type: "delete", thread: "t5" },
    { type: "send", thread: "t3" },
  ];
  assert.deepEqual(inbox.list(commands).map(({ title }) => title), ["first", "fourth"]);
  assert.deepEqual(ids(inbox.list(commands, true)), ["t2"]);
  assert.equal(inbox.item("t1", commands).title, "first");
  assert.equal(inbox.item("t3", commands), undefined);
  assert.equal(inbox.item("t3").title, "chat 3");
});

test("a chat that the server does not have is called by what was said in it first, as the server will call it", () => {
  const { cases } = JSON.parse(readFileSync(new URL("../words/titles.json", import.meta.url)));
  const create = { type: "create", thread: "t" };
  for (const { about, text, title } of cases) {
    const said = [create, { type: "send", thread: "t", text }, { type: "send", thread: "t", text: "And then?" }];
    assert.equal(new Inbox().item("t", said.slice(0, 2)).title, title, about);
    if (title) assert.equal(new Inbox().item("t", said).title, title, about);
  }
  assert.equal(new Inbox().item("t", [{ ...create, title: "Named" }, { type: "send", thread: "t", text: "x" }]).title, "Named");
});

test("older chats come page by page until none is missing, the pinned ones too", async () => {
  const all = Array.from({ length: 11 }, (_, index) => item(index + 1));
  all[0].pinned = true;
  const inbox = new Inbox();
  inbox.apply(event(0, 11, [all[0], all[9], all[10]], { older: true }));
  const { ask, asked } = server(all);
  while (inbox.hasOlder()) await inbox.bringOlder(false, ask);
  assert.deepEqual(ids(inbox.list()), ["t1", "t11", "t10", "t9", "t8", "t7", "t6", "t5", "t4", "t3", "t2"]);
  assert.deepEqual(asked.map(({ before }) => before), ["t10", "t7", "t4"]);
});

test("what changes meanwhile leaves no gap between the pages", async () => {
  const all = Array.from({ length: 9 }, (_, index) => item(index + 1));
  const inbox = new Inbox();
  inbox.apply(event(0, 9, all.slice(6), { older: true }));
  const { ask } = server(all);
  await inbox.bringOlder(false, ask);
  all[3].version = 10; // the last of the page is the newest now, and an older one which is not held yet, too
  all[0].version = 11;
  inbox.apply(event(9, 11, [{ ...all[3] }, { ...all[0] }]));
  while (inbox.hasOlder()) await inbox.bringOlder(false, ask);
  assert.equal(inbox.items.size, 9);
});

test("archived chats come from their first page on, beside those that are known", async () => {
  const all = Array.from({ length: 8 }, (_, index) => item(index + 1, { archived: index < 5 }));
  const inbox = new Inbox();
  inbox.apply(event(0, 8, all.slice(5)));
  assert.equal(inbox.hasOlder(), false);
  all[5].archived = true;
  all[5].version = 9;
  inbox.apply(event(8, 9, [{ ...all[5] }]));
  const { ask, asked } = server(all);
  while (inbox.hasOlder(true)) await inbox.bringOlder(true, ask);
  assert.deepEqual(ids(inbox.list([], true)).sort(), ["t1", "t2", "t3", "t4", "t5", "t6"]);
  assert.equal(asked[0].before, undefined);
  assert.ok(asked.every(({ archived }) => archived));
});

test("a page that was read before takes nothing back", async () => {
  const inbox = new Inbox();
  inbox.apply(event(0, 9, [item(9)], { older: true }));
  let answer;
  const brought = inbox.bringOlder(false, () => new Promise((resolve) => (answer = resolve)));
  inbox.apply(event(9, 11, [item(11, { id: "t3", title: "renamed" })], { removed: ["t2"] }));
  answer({ items: [item(3, { title: "old name" }), item(2), item(1)], more: false });
  await brought;
  assert.deepEqual(inbox.list().map(({ title }) => title), ["renamed", "chat 9", "chat 1"]);
  assert.equal(inbox.removed("t2"), true);
});

test("a list that has begun anew meanwhile has no gap either", async () => {
  const inbox = new Inbox();
  inbox.apply(event(0, 30, [item(30), item(29)], { older: true }));
  let answer;
  const brought = inbox.bringOlder(false, () => new Promise((resolve) => (answer = resolve)));
  inbox.apply(event(0, 60, [item(60), item(59)], { older: true }));
  answer({ items: [item(28)], more: true });
  await brought;
  assert.deepEqual(ids(inbox.list()), ["t60", "t59"]);
  const all = Array.from({ length: 60 }, (_, index) => item(index + 1));
  const { ask, asked } = server(all, 100);
  await inbox.bringOlder(false, ask);
  assert.equal(asked[0].before, "t59");
  assert.equal(inbox.items.size, 60);
});
