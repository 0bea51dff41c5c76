/**
 * What is shown of a thread: its path as it will be when what was asked for has been done, and what waits.
 *
 * Who edits a message or wants another answer sees that at once, on the way to the server and while it waits there for
 * its turn. Pure, so that every case can be tested.
 */

import { ended } from "../client/transcript.js";

/** Milliseconds within which messages that began together have begun. */
const TOGETHER = 1000;

/**
 * `entries` are the outbox's of this thread; `anew`: runs (ids) that are known to write another answer. Returns
 *
 * - `path`: messages from the first one held to the last that stays;
 * - `next`: what comes after it: of each what to show, `{message, entry?}`; where nothing is being answered that is one;
 * - `waiting`: the same of what comes later;
 * - `left`: whether a path is being left, so that what is still said there is not shown;
 * - `pending`: whether something asked for has not reached the server, and was not refused;
 * - `wanted`: the version of a message that was chosen, or null.
 */
export function outlook(transcript, entries, anew = new Set()) {
  const whole = transcript.path;
  let path = whole;
  const next = [];
  const stopped = new Set(entries.filter(({ command }) => command.type === "stop").map(({ command }) => command.run));
  let waiting = transcript.queued.filter(({ run }) => !stopped.has(run)).map((message) => ({ message }));
  let pending = false;
  let wanted = null;
  const cut = (at) => {
    path = path.slice(0, at);
    waiting = [];
  };

  const [head] = waiting;
  const branch = head === undefined ? -1 : branchOf(head.message, path);
  const again = branch < 0 ? answeredAnew(transcript, path, anew) : -1;
  if (branch >= 0) {
    path = path.slice(0, branch);
    next.push(waiting.shift());
  } else if (again >= 0) path = path.slice(0, again);

  for (const entry of entries) {
    const { command, error } = entry;
    const at = path.findIndex((message) => message.id === command.of);
    if (command.type === "select" && !error) wanted = command.message;
    if (command.type === "continue") pending = true;
    if (command.type === "regenerate" && !error && at >= 0) {
      cut(path[at].role === "user" ? at + 1 : firsts(path, transcript.runs)[at]);
      next.length = 0;
      pending = true;
    }
    if ((command.type !== "send" && command.type !== "edit") || transcript.messages.has(command.message)) continue;
    pending ||= !error;
    const shown = { message: unsent(command), entry };
    const place = waiting.findIndex(({ message }) => message.id === command.of);
    if (place >= 0) waiting[place] = shown;
    else if (command.type === "edit" && next[0]?.message.id === command.of) next[0] = shown;
    else if (command.type === "edit" && at >= 0) {
      cut(at);
      next.length = 0;
      next.push(shown);
    } else waiting.push(shown);
  }

  const left = path.length < whole.length;
  if (next.length === 0 && waiting.length > 0 && (left || transcript.running === undefined)) next.push(waiting.shift());
  return { path, next, waiting, left, pending, wanted };
}

/** A message that the server does not have, as a row. */
function unsent({ message, text }) {
  return { id: message, role: "user", status: "pending", text, reasoning: "", siblings: [message], created_at: null };
}

/** Where on the path a queued message will begin a branch; -1 if it comes after its end. */
function branchOf(message, path) {
  // What it comes after may have got answers since, of its own run; but no other question.
  if (message.after === null) return path.length > 0 && path[0].parent === null ? 0 : -1;
  const at = path.findIndex((candidate) => candidate.id === message.after) + 1;
  const more = at > 0 ? path.slice(at).findIndex((candidate) => candidate.role === "user") : -1;
  return more < 0 ? -1 : at + more;
}

/** From where on the path makes way for another answer that waits for its turn; -1 if none does. */
function answeredAnew(transcript, path, anew) {
  const queued = [...transcript.runs.values()].filter((run) => run.state === "queued");
  const first = queued.sort((a, b) => a.place - b.place)[0];
  const at = path.findIndex((message) => message.id === first?.prompt);
  if (at < 0 || at === path.length - 1) return -1;
  // A run that goes on with the last answer waits at its question, too.
  const open = ["cut", "failed"].includes(path.at(-1).status);
  return anew.has(first.id) || !open ? at + 1 : -1;
}

/**
 * Of each message of the path, where the answers begin that belong together with it; of a question, its own place. They
 * are those of one run, and of the runs that went on with one of them, which answer the same question.
 */
export function firsts(path, runs) {
  const questionOf = ({ role, run }) => (role === "assistant" ? (runs.get(run)?.prompt ?? run) : null);
  const places = [];
  path.forEach((message, at) => {
    const question = questionOf(message);
    places.push(at > 0 && question !== null && question === questionOf(path[at - 1]) ? places[at - 1] : at);
  });
  return places;
}

/**
 * Of a question on the path that nothing answers there: the run that was to do so, and ended before it said anything.
 * Otherwise undefined. (chat/views.py finds the same.)
 */
export function silent(path, at, runs) {
  if (path[at].role !== "user" || path[at + 1]?.role === "assistant") return undefined;
  const prompted = [...runs.values()].filter(({ prompt }) => prompt === path[at].id);
  const run = prompted.sort((a, b) => a.version - b.version).at(-1);
  return ended(run) ? run : undefined;
}

/**
 * How many answers stand side by side with each message of the path, itself counted: those that belong together and all
 * began before one of them had said a word. `places`: what firsts finds. (chat/views.py says the same of the first paint:
 * tests/words holds both to it.)
 */
export function abreast(path, runs, places) {
  const counts = path.map(() => 1);
  for (let at = 0, end; at < path.length; at = end) {
    end = at + 1;
    while (places[end] === at) end++;
    const together = path.slice(at, end);
    const moment = path[at].created_at;
    const word = runs.get(path[at].run)?.first_token_at;
    const latest = word ? Date.parse(word) : Date.parse(moment) + TOGETHER;
    const count = together.filter(({ created_at }) => created_at === null || Date.parse(created_at) <= latest).length;
    if (count === together.length) counts.fill(count, at, end);
  }
  return counts;
}
