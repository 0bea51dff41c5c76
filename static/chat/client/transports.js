/** The transports of a connection, best first. See connection.js for what a transport is. */

import { HttpTransport } from "./http.js";
import { WebSocketTransport } from "./websocket.js";

/**
 * `url`: of the websocket; the API is beside it. `token`: an API token, where no cookie signs in. `headers()`: those that a
 * request of HTTP needs besides, as the CSRF token. `open` makes a WebSocket, `fetch` a request.
 * `via` as in `turnOf`.
 */
export function transportsTo({ url, token, open, headers, fetch, clock, via }) {
  const base = apiBeside(url);
  const ways = { proven: via === "polls" ? via : null };
  return [
    () => new WebSocketTransport({ url, token, open }),
    () => new HttpTransport({ base, token, headers, fetch, clock, ways }),
  ];
}

/** Which of them begins where `via`, the name of a transport or nothing, is what got through not long ago. */
export const turnOf = (via) => (via === "events" || via === "polls" ? 1 : 0);

/** The address of the API beside a websocket's. */
export function apiBeside(url) {
  return new URL("../../api/", url.replace(/^ws/, "http")).href;
}
