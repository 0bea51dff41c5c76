/** The page: takes over the server's HTML, goes on from its state, and wires what people do to the client. */

import { Client } from "../client/client.js";
import { AnswerNews } from "./answer-news.js";
import { codeOf } from "./code.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { copy } from "./copy.js";
import { errorWords } from "./error-words.js";
import { keepFocus } from "./focus.js";
import { Instructions } from "./instructions.js";
import { listen } from "./keys.js";
import { csrf, keepAlive } from "./life.js";
import { ModelChoice } from "./model-choice.js";
import { Scroll } from "./scroll.js";
import { Sidebar } from "./sidebar.js";
import { Status } from "./status.js";
import { ThreadView } from "./thread-view.js";
import { memory } from "./memory.js";
import { titleWords } from "./words.js";
import { toast } from "./toast.js";
import { Unsent } from "./unsent.js";

const node = (id) => document.getElementById(id);
const HOME = new URL(document.querySelector(".new-chat").href).pathname;
const href = (thread) => `${HOME}c/${thread}/`;

/** Scrolling up to here brings earlier messages. */
const EARLIER_AT = 800;

const user = document.body.dataset.user;
const local = memory(localStorage, `rejoin:${user}:`);
const session = memory(sessionStorage, `rejoin:${user}:`);
const unsent = new Unsent(local);

const client = new Client({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${HOME}ws/chat/`,
  user,
  headers: csrf,
  via: session.get("via"),
  store: unsent,
});

let current = null;
let serverAhead = 0;
let readUpTo = "";
let loadingEarlier = false;

const scroll = new Scroll(node("scroller"), () => {
  node("jump").hidden = scroll.stuck || scroll.below < 40;
  if (node("scroller").scrollTop < EARLIER_AT) loadEarlier();
});

const view = new ThreadView(
  client,
  scroll,
  {
    log: node("log"),
    queue: node("queue"),
    life: node("life"),
    empty: node("empty"),
    gone: node("gone"),
    earlier: node("earlier"),
    template: node("message-template"),
    editor: node("editor-template"),
  },
  {
    serverNow: () => Date.now() + serverAhead,
    ondraw: () => drawn(),
    ondrop: (thread, text) => composer.give(thread, text),
    html,
  },
);

const composer = new Composer(
  {
    form: node("composer"),
    input: node("message"),
    send: node("send"),
    interrupt: node("interrupt"),
    stop: node("stop"),
    hint: node("hint"),
  },
  local,
  { onsend: send, onstop: () => conversation.stop(), onedit: () => conversation.editLast() },
);

const conversation = new Conversation(client, view, composer, {
  complain: (words, again) => status.complain(words, again),
  onempty: () => go(null),
});

const sidebar = new Sidebar(
  client,
  {
    sidebar: node("sidebar"),
    opener: document.querySelector(".open-sidebar"),
    closer: document.querySelector(".close-sidebar"),
    covered: document.querySelectorAll("main, .skip"),
    list: node("chats"),
    items: node("items"),
    older: node("older-chats"),
    which: node("which-chats"),
    archived: node("archived"),
    results: node("results"),
    found: node("found"),
    field: node("search"),
    words: node("results-words"),
    more: node("more-results"),
    template: node("item-template"),
    menu: node("menu"),
  },
  {
    href,
    update: (thread, fields) => conversation.update(thread, fields),
    remove,
    open: (thread) => go(thread),
  },
);
toast(node("toast"), sidebar.undo);

const status = new Status(client, {
  connection: node("connection"),
  hurry: node("hurry"),
  banner: node("banner"),
  announcer: node("announcer"),
  tick: () => view.tick(),
});

const news = new AnswerNews();

const model = new ModelChoice(
  client,
  { choice: node("model-choice"), select: node("model") },
  local,
  { onchoose: (thread, name) => conversation.update(thread, { model: name }) },
);

const instructions = new Instructions(
  { dialog: node("instructions"), input: node("system-prompt") },
  local,
  { onsave: (thread, words) => conversation.update(thread, { system_prompt: words }) },
);

// ------------------------------------------------------------------------------------------------- what people do

/** Delete a chat: one that is gone already is what was wanted. */
function remove(thread) {
  composer.forget(thread);
  client.delete(thread).catch(({ error }) => error.code === "not_found" || status.complain(errorWords(error)));
}

function send(text, options) {
  if (current === null || current.gone) {
    go(conversation.begin(text, { model: model.chosen, ...instructions.take() }));
  } else {
    conversation.send(text, options);
    scroll.toEnd();
  }
}

/** What a button on a message does, with the message's id. */
const actions = {
  continue: (id) => conversation.continue(id),
  copy: (id, button) => copied(button, conversation.text(id)),
  edit: (id) => conversation.edit(id),
  next: (id, button) => conversation.select(button.dataset.to),
  previous: (id, button) => conversation.select(button.dataset.to),
  regenerate: (id) => conversation.regenerate(id),
  resend: () => conversation.resend(),
  retry: (id) => conversation.regenerate(id),
  sendnow: (id) => conversation.sendNow(id),
  show: (id) => conversation.select(id),
  stats: (id) => view.toggleStats(id),
  takeback: (id) => conversation.takeBack(id),
  unqueue: (id) => conversation.unqueue(id),
};

async function copied(button, text) {
  status.announce(await copy(button, text));
}

/** What the server makes of an answer. */
async function html(thread, message) {
  const response = await fetch(`${href(thread)}html/${message}/`);
  if (!response.ok) throw new Error(response.statusText);
  return (await response.json()).html;
}

async function loadEarlier() {
  const transcript = current;
  if (loadingEarlier || !transcript?.complete || !transcript.hasEarlier || !client.connection.live) return;
  loadingEarlier = true;
  try {
    await client.history(transcript.id);
  } catch {
    // The link is still there.
  } finally {
    loadingEarlier = false;
  }
}

// ------------------------------------------------------------------------------------------------------ navigation

function threadOf(path) {
  return path.startsWith(`${HOME}c/`) ? path.slice(HOME.length + 2).replace("/", "") : null;
}

/** Let every part of the page show this thread (an id or null), of which `current` is the transcript. */
function show(thread) {
  conversation.transcript = current;
  composer.open(thread ?? "new");
  sidebar.current = thread;
  status.leave();
  news.show(current, { begins: client.outbox.awaits("create", thread) });
  view.show(current);
  for (const link of node("options").querySelectorAll("a")) {
    link.hidden = thread === null;
    link.href = `${HOME}api/threads/${thread}/export?format=${link.dataset.format}`;
  }
}

function go(thread, { push = true } = {}) {
  const path = thread === null ? HOME : href(thread);
  if (push && path !== location.pathname) history.pushState(null, "", path);
  if (current !== null && current.id !== thread) client.unfollow(current.id);
  sidebar.open(false);
  if (thread === null || current?.id !== thread) {
    current = thread === null ? null : client.follow(thread);
    show(thread);
  }
  if (thread === null || push) composer.focus();
}

document.addEventListener("click", (event) => {
  const modified = event.metaKey || event.ctrlKey || event.shiftKey || event.altKey;
  if (event.defaultPrevented || event.button !== 0 || modified) return;
  const button = event.target.closest("[data-do]");
  if (button?.dataset.do === "copycode") return void copied(button, codeOf(button));
  const owner = button?.closest("[data-id]");
  if (owner) return void actions[button.dataset.do]?.(owner.dataset.id, button);
  const link = event.target.closest("a");
  if (link === null) return;
  if (link.closest("#items, #found, .new-chat, .brand, #gone")) {
    event.preventDefault();
    if (link.matches(".new-chat")) sidebar.show(false);
    go(threadOf(link.pathname));
  } else if (link.matches(".open-sidebar, .close-sidebar, .backdrop")) {
    event.preventDefault();
    sidebar.open(link.matches(".open-sidebar"));
  } else if (link.closest("#earlier")) {
    event.preventDefault();
    loadEarlier();
  }
});

listen({
  escape: () => {
    // In the box to write in Escape means the answer, also while a search is open.
    const leaves = current?.running === undefined || node("sidebar").contains(document.activeElement);
    if (leaves && sidebar.search.leave()) {
      if (document.activeElement === document.body) composer.focus();
    } else if (node("sidebar").hasAttribute("data-open")) sidebar.open(false);
    else conversation.stop();
  },
  search: () => sidebar.find(),
  help: () => node("help").showModal(),
  undo: sidebar.undo,
});
keepFocus((held) => (node("scroller").contains(held) ? scroll : composer).focus());

addEventListener("popstate", () => go(threadOf(location.pathname), { push: false }));
node("options").addEventListener("click", (event) => {
  const what = event.target.closest("button, a");
  if (what === null) return;
  node("options").hidePopover();
  if (what.dataset.open === "help") node("help").showModal();
  if (what.dataset.open === "instructions") instructions.open(current);
});
node("jump").addEventListener("click", () => scroll.toEnd());
node("prompts").addEventListener("click", (event) => {
  if (event.target.matches("button")) send(event.target.textContent.trim());
});

// ------------------------------------------------------------------------------------------------- what is drawn

function drawn() {
  const title = (current && (sidebar.item(current.id)?.title || current.row?.title)) || "";
  node("title").textContent = titleWords(title);
  document.title = title ? `${title} · Rejoin` : "Rejoin";
  composer.busy = current?.running !== undefined;
  model.show(current);
  const said = news.look();
  if (said) status.announce(said);
  markRead();
}

/** Who sees the end of an answer has read it. */
function markRead() {
  const item = current && client.inbox.items.get(current.id);
  const last = current?.path.at(-1);
  const what = `${current?.id} ${item?.version}`;
  if (!item?.unread || !last || !current.complete || what === readUpTo) return;
  if (document.visibilityState !== "visible") return;
  readUpTo = what;
  client.read(current.id, last.id).catch(() => {});
}

client.inbox.addEventListener("rows", drawn);
client.addEventListener("fault", (event) => status.complain(errorWords(event.detail)));
client.addEventListener("welcome", () => {
  serverAhead = Date.parse(client.welcome.server_time) - Date.now();
  composer.limit = conversation.limit = client.welcome.limits.message;
  model.show(current);
});

// ------------------------------------------------------------------------------------- the page's and network's life

addEventListener("pagehide", (event) => {
  sidebar.undo.settle();
  client.flush();
  composer.keep();
  if (!event.persisted) view.keepDrafts();
  // This tab's next page need not find out anew what gets through.
  if (client.connection.live) session.set("via", client.connection.via);
});
keepAlive(client, {
  onseen() {
    sidebar.draw();
    markRead();
  },
});

document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && composer.keep());
addEventListener("storage", (event) => client.outbox.drop(unsent.gone(event)));

for (const frame of JSON.parse(node("frames").textContent)) {
  // A chat that is still on its way to the server is not there, but not gone either.
  if (!client.outbox.awaits("create", frame.thread)) client.apply(frame);
}
if (location.search || location.hash) history.replaceState(null, "", location.pathname);
const first = threadOf(location.pathname);
current = first === null ? null : client.follow(first);
show(first);
client.start();
