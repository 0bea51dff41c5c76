/** What the list of chats says to people. Pure. */

import { gettext, ngettext } from "./language.js";

export const UNNAMED = gettext("New chat");
export const NAME = gettext("Name of the chat");
export const STATES = { running: gettext("answering"), queued: gettext("queued"), unread: gettext("unread") };
export const SHOW_ARCHIVED = gettext("Archived chats");
export const SHOW_CHATS = gettext("Back to the chats");
export const NOTHING_ARCHIVED = gettext("Nothing is archived.");

export const options = (title) => gettext("Options for {title}", { title });
export const pinWords = (pinned) => (pinned ? gettext("Unpin") : gettext("Pin"));
export const archiveWords = (archived) => (archived ? gettext("Bring back") : gettext("Archive"));

export const deleted = (title) => gettext("“{title}” is deleted.", { title });
export const archived = (title) => gettext("“{title}” is archived.", { title });
export const kept = (title) => gettext("“{title}” is not deleted: it goes on elsewhere.", { title });
export const UNDO = gettext("Undo");

/** How a search stands. */
export function searchWords(state, query, count, more) {
  if (state === "waiting") return gettext("Waiting for the connection");
  if (state === "failed") return gettext("That did not work. Type to try again.");
  if (state === "asking" && count === 0) return gettext("Searching…");
  if (count === 0) return gettext("No chat has “{query}” in it.", { query });
  if (more) return ngettext("More than {count} chat", "More than {count} chats", count);
  return ngettext("{count} chat", "{count} chats", count);
}

/** The text in pieces `[text, matches]`, with each place that has the query as a piece of its own. */
export function pieces(text, query) {
  const found = [];
  const [low, wanted] = [text.toLowerCase(), query.toLowerCase()];
  // Where lower case is of another length, as of İ, places can't be told.
  if (wanted === "" || low.length !== text.length) return [[text, false]];
  let at = 0;
  for (;;) {
    const next = low.indexOf(wanted, at);
    if (next < 0) break;
    if (next > at) found.push([text.slice(at, next), false]);
    found.push([text.slice(next, next + wanted.length), true]);
    at = next + wanted.length;
  }
  if (at < text.length) found.push([text.slice(at), false]);
  return found;
}
