/**
 * The last words of a page that may be gone in a moment. What a socket was just given goes down with the page; these are
 * requests that outlive it. They say the same commands, by the same ids: what arrives twice is done once.
 */

import { BATCH } from "./api.js";

/**
 * Say these commands once more: those of each thread in their order. No answer is waited for.
 *
 * A thread that is still to be created is left out: it would be made for whoever's session the requests bring, and that may
 * have changed since. About any other thread, only its owner can say anything.
 */
export function flush(commands, api) {
  for (const [thread, said] of Map.groupBy(commands, (command) => command.thread)) {
    if (thread === undefined || said.some(({ type }) => type === "create")) continue;
    const request = api.open(`threads/${thread}/commands`, { body: said.slice(0, BATCH), keepalive: true });
    request.catch(() => {}); // no network, or too much to be said: then it is said when the page is back
  }
}
