/** What is said to people, from what is known. Pure, so that every case can be tested. */

import { OTHER_USER } from "../client/client.js";
import { ended } from "../client/transcript.js";
import { errorWords } from "./error-words.js";
import { gettext, locale, ngettext, number } from "./language.js";

export const WAITING = gettext("Waiting for the connection");
/** Close codes of a server that restarts; behind daphne it is 1000. */
const RESTARTS = new Set([1012, 1000]);
const UNSENT = gettext("Will be sent when the connection is back");

/** The button that copies, and what it says when it has tried. */
export const COPYING = { copy: gettext("Copy"), copied: gettext("Copied"), failed: gettext("Not copied") };

/** What the buttons do. */
export const ACTIONS = {
  continue: gettext("Continue"),
  copy: gettext("Copy"),
  edit: gettext("Edit"),
  next: gettext("Next version"),
  previous: gettext("Previous version"),
  regenerate: gettext("Regenerate"),
  resend: gettext("Try again"),
  retry: gettext("Try again"),
  sendnow: gettext("Send now"),
  show: gettext("Show it"),
  stats: gettext("About this answer"),
  takeback: gettext("Take back"),
  unqueue: gettext("Take back"),
};

/**
 * The connection, for the indicator: a state, its words, and whether waiting can be cut short. `now` is the local time in
 * ms; `before` says whether it was live before, `unsent` whether a message waits for it.
 */
export function connectionWords(state, { now, online, before, unsent }) {
  const waits = state.name === "waiting" ? state.until - now : 0;
  if (state.name === "live") return { state: "live", words: gettext("Live"), canHurry: false };
  if (state.name === "refused") {
    return { state: "refused", words: state.code === 4401 ? gettext("Signed out") : gettext("Not connected"), canHurry: false };
  }
  if (!online) {
    const words = unsent ? gettext("Offline: your message will be sent") : gettext("Offline");
    return { state: "offline", words, canHurry: false };
  }
  if (waits > 1500) return { state: "waiting", words: gettext("Reconnecting in {time}", { time: seconds(waits) }), canHurry: true };
  if (RESTARTS.has(state.code)) return { state: "waiting", words: gettext("The server restarts…"), canHurry: false };
  return { state: "connecting", words: before ? gettext("Reconnecting…") : gettext("Connecting…"), canHurry: false };
}

/** How the connection is made, if not as usual; "" otherwise. */
export function viaWords(via) {
  if (via === "events") return gettext("By event streams: this network lets no websocket through");
  if (via === "polls") return gettext("By asking again and again: this network lets neither websockets nor event streams through");
  return "";
}

/** Why the server does not want this page to come back, and what helps. */
export function refusalWords(code) {
  if (code === 4401) return { words: gettext("You are signed out."), action: gettext("Sign in") };
  if (code === OTHER_USER) return { words: gettext("Somebody else has signed in here."), action: gettext("Reload") };
  if (code === 4403) return { words: gettext("You may not use this chat."), action: gettext("Sign in") };
  return { words: gettext("This page and the server no longer understand each other."), action: gettext("Reload") };
}

/**
 * How a message ended or where it stands; `actions`: what is to be done about it, `tools`: what else can be done with it.
 *
 * `run`: an answer's own; of a question that nothing answers, what was to. `last`: it is the path's last. `whole`: it is the last of its run's. `busy`: a run of the thread runs or waits.
 * `handed`: it is on its way. `first`: nothing is before it, so that the sign of life below says what it waits for. `beside`: others are written at the same time.
 */
export function messageFoot(message, { run, last, whole = last, busy, stopping, error, handed = true, waiting, first, live, beside } = {}) {
  if (error) return { note: errorWords(error), wrong: true, actions: ["resend", "takeback"], tools: ["copy"] };
  if (message.status === "pending") {
    return { note: live || first ? "" : UNSENT, actions: handed ? [] : ["takeback"], tools: ["copy"] };
  }
  if (message.status === "queued") {
    return { note: waiting, actions: first ? ["unqueue"] : ["sendnow", "unqueue"], tools: ["copy", "edit"] };
  }
  if (message.role === "user") return question(run, !busy);
  const tools = [...(message.text ? ["copy"] : []), ...(whole && !stopping ? ["regenerate"] : [])];
  if (message.status === "streaming") {
    const silent = beside && !message.ended && !message.text && !message.reasoning;
    return { note: stopping ? gettext("Stopping…") : silent ? gettext("Waiting for the model") : "", actions: [], tools };
  }
  if (ended(run)) tools.push("stats");
  if (message.status === "failed" || message.status === "cut") return broken(message, run, last && !busy, tools);
  const left = run?.left_out ?? 0;
  return { note: left ? leftOut(left) : "", actions: [], tools };
}

function leftOut(count) {
  return ngettext(
    "{count} earlier message did not fit and was left out",
    "{count} earlier messages did not fit and were left out",
    count,
  );
}

/** Something that was said. `run`: it was to answer that, and ended before it did. `open`: nothing else is being answered. */
function question(run, open) {
  const tools = ["copy", "edit"];
  if (run === undefined) return { note: "", actions: [], tools };
  const wrong = Boolean(run.error);
  const note = wrong ? errorWords(run.error) : gettext("Stopped before it began");
  return { note, wrong, actions: !open ? [] : wrong ? ["retry"] : ["regenerate"], tools };
}

/** An answer that is not all that there was to say. `open`: it can be gone on with. */
function broken(message, run, open, tools) {
  const error = message.error ?? run?.error;
  const interrupted = run?.state === "interrupted";
  const note = error ? errorWords(error) : interrupted ? gettext("Interrupted") : gettext("Stopped");
  const wrong = message.status === "failed";
  if (!open) return { note, wrong, actions: [], tools };
  if (!wrong && !interrupted) return { note, wrong, actions: ["continue"], tools };
  const actions = wrong ? (message.text ? ["retry", "continue"] : ["retry"]) : ["continue", "retry"];
  return { note, wrong, actions, tools: tools.filter((name) => name !== "regenerate") };
}

/** Which of its versions a message is, from 1, and the ids of its neighbours; null if it is the only one. `wanted`: the
 * one that was chosen and is not there yet. */
export function versionsOf(message, wanted = null) {
  const { siblings = [] } = message;
  if (siblings.length < 2) return null;
  const at = siblings.indexOf(siblings.includes(wanted) ? wanted : message.id);
  const words = `${at + 1}/${siblings.length}`;
  return { words, previous: siblings[at - 1] ?? null, next: siblings[at + 1] ?? null };
}

/** When something was, in short, and exactly. `now`: the local time in ms. */
export function timeWords(moment, now, where = locale) {
  const date = new Date(moment);
  const today = new Date(now);
  const time = { hour: "numeric", minute: "2-digit" };
  const day = { day: "numeric", month: "short" };
  const year = { year: "numeric" };
  const isToday = date.toDateString() === today.toDateString();
  const format = isToday ? time : { ...time, ...day, ...(date.getFullYear() === today.getFullYear() ? {} : year) };
  return {
    short: date.toLocaleString(where, format),
    exact: date.toLocaleString(where, { dateStyle: "full", timeStyle: "medium" }),
  };
}

/** What is known of how an answer was made, as [name, value] pairs. */
export function statistics(message, run) {
  const between = (from, to) => (run[from] && run[to] ? Date.parse(run[to]) - Date.parse(run[from]) : null);
  const [first, spoke, all] = [
    between("started_at", "first_token_at"),
    between("first_token_at", "finished_at"),
    between("started_at", "finished_at"),
  ];
  const count = (tokens) => number(tokens);
  const known = [[gettext("Model"), run.model || message.author]];
  if (run.tokens_in != null) known.push([gettext("Tokens read"), count(run.tokens_in)]);
  if (run.tokens_out != null) known.push([gettext("Tokens written"), count(run.tokens_out)]);
  if (first !== null) known.push([gettext("First token after"), exactSeconds(first)]);
  const speed = spoke && run.tokens_out && rounded((run.tokens_out * 1000) / spoke);
  if (speed) known.push([gettext("Speed"), gettext("{count} tokens/s", { count: speed })]);
  if (all !== null) known.push([gettext("Took"), exactSeconds(all)]);
  return known.filter(([, value]) => value);
}

const rounded = (value) => number(value, digits(value < 10 ? 1 : 0));
function exactSeconds(milliseconds) {
  if (milliseconds >= 100_000) return seconds(milliseconds);
  return gettext("{count} s", { count: rounded(milliseconds / 1000) });
}

/** The title of the model's thoughts: it thinks, or did so for a known time (ms, or 0), or did so. */
export function thoughtWords(thinking, took) {
  if (thinking) return gettext("Thinking…");
  return took ? gettext("Thought for {time}", { time: seconds(took) }) : gettext("Reasoning");
}

/** How large what is written is, where that matters. `limit`: bytes. */
export function sizeWords(text, limit) {
  const size = text.length < LARGE && text.length * 3 <= limit ? 0 : encoder.encode(text).length;
  const sizes = { size: kilobytes(size), limit: kilobytes(limit) };
  if (size > limit) return { words: gettext("Too long: {size} of {limit}", sizes), wrong: true };
  return { words: size < LARGE ? "" : gettext("{size} of {limit}", sizes), wrong: false };
}

const encoder = new TextEncoder();
/** Bytes from which on it is said how many they are. */
const LARGE = 4096;

/**
 * The sign of life below the messages: what is awaited, when nothing of an answer shows it. Null: nothing is.
 *
 * `path` is what is shown; `left`: the run that runs writes on a path that is being left. `now` is the server's time in
 * ms; `pending` says whether something that was asked has not reached the server.
 */
export function lifeSign(transcript, { path = transcript.path, left = false, now, live, pending }) {
  const run = left ? undefined : transcript.running;
  if (run !== undefined) {
    if (!path.some((message) => message.id === run.prompt)) return elsewhere(transcript, run);
    const answers = transcript.writtenBy(run);
    const growing = (answer) => answer.status === "streaming" && !answer.ended && (answer.text || answer.reasoning);
    if (answers.some(growing)) return null;
    if (answers.some((answer) => answer.text)) return { state: "busy", words: gettext("Going on…") };
    if (!live) return { state: "busy", words: WAITING };
    const waited = run.started_at === null ? 0 : now - Date.parse(run.started_at);
    if (waited < 2000) return { state: "busy", words: gettext("Waiting for the model") };
    return { state: "busy", words: gettext("Waiting for the model for {time}", { time: seconds(waited) }) };
  }
  if (pending && left) return { state: "busy", words: live ? gettext("Sending…") : UNSENT };
  const queued = [...transcript.runs.values()].filter((candidate) => candidate.state === "queued");
  if (queued.length) {
    const [first] = queued.sort((a, b) => a.place - b.place);
    if (first.error?.code === "no_worker") return { state: "busy", words: gettext("Waiting for a worker: none is running") };
    return { state: "busy", words: first.place > 1 ? queueWords(first.place) : gettext("Queued") };
  }
  if (pending) return { state: "busy", words: live ? gettext("Sending…") : UNSENT };
  return null;
}

/** An answer is being written where the reader is not. */
function elsewhere(transcript, run) {
  if (!transcript.messages.has(run.prompt)) return null;
  return { state: "elsewhere", words: gettext("An answer is being written on another path"), of: run.prompt, action: "show" };
}

/** How long a queued message may have to wait. */
export function queueWords(place) {
  return place > 1 ? gettext("Queued, place {place}", { place }) : gettext("Queued: next");
}

/** Whole seconds, at least 1; minutes from 100 s on. */
export function seconds(milliseconds) {
  const whole = Math.max(1, Math.ceil(milliseconds / 1000 - 0.25));
  return whole < 100 ? gettext("{count} s", { count: whole }) : gettext("{count} min", { count: Math.round(whole / 60) });
}

/** A size that people can compare. */
export function kilobytes(bytes) {
  return gettext("{count} KB", { count: number(bytes / 1024, digits(bytes < 10_240 ? 1 : 0)) });
}

/** So many behind the point, and no marks between thousands. */
const digits = (count) => ({ maximumFractionDigits: count, minimumFractionDigits: count, useGrouping: false });

/** Whose words these are. */
export function authorWords(message) {
  return message.role === "user" ? gettext("You") : message.author || gettext("Answer");
}

/** A chat's title; one that has none yet has a name all the same. */
export const titleWords = (title) => title || gettext("New chat");

/** What is announced when an answer begins, and (of its run) when it ends. */
export const ANSWER_BEGINS = gettext("The answer begins");

export function endWords(run) {
  if (run.state === "completed") return gettext("The answer is complete");
  if (run.state === "stopped") return gettext("The answer was stopped");
  if (run.state === "interrupted") return gettext("The answer was interrupted");
  const failed = gettext("The answer failed");
  return run.error ? `${failed}: ${errorWords(run.error)}` : failed;
}

export const CONNECTION_LOST = gettext("Connection lost");
export const CONNECTED_AGAIN = gettext("Connected again");
export const LOADING = gettext("Loading…");
