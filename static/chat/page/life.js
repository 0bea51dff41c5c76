/** The page's and the network's life, as the connection needs to know of it. */

import { OTHER_USER } from "../client/client.js";

/**
 * A page that nobody sees leaves a connection of HTTP requests after …: a browser has six for all its pages of a server,
 * and those of three hidden ones would leave none for what is done here.
 */
const REST = 20_000;

/**
 * Come back at once when the network or the page does; `onseen()` when somebody looks at the page again. A page that the
 * browser had kept shows itself only to whom it was made for.
 */
export function keepAlive(client, { onseen }) {
  const { connection, outbox } = client;
  const signedIn = token();
  let resting = null;
  /** Whether the browser had the page, and the server has not agreed to it since. */
  let kept = performance.getEntriesByType("navigation")[0]?.type === "back_forward";

  function wake() {
    clearTimeout(resting);
    connection.wake();
  }

  /** Somebody has signed in or out since: the server says what there is to see, and hears nothing more from here. */
  function makeAnew() {
    kept = false;
    connection.refuse(OTHER_USER);
    document.body.hidden = true;
    location.reload();
  }

  function restLater() {
    clearTimeout(resting);
    if (document.visibilityState !== "visible") resting = setTimeout(rest, REST);
  }

  function rest() {
    if (outbox.unanswered.length) restLater();
    else if (connection.via !== null && connection.via !== "websocket") connection.close();
  }

  addEventListener("online", wake);
  // Frozen, and thawed: nothing ran in between, so nobody noticed what fell.
  document.addEventListener("resume", wake);
  // Kept whole while another page is shown: a connection would keep it from that.
  addEventListener("pagehide", (event) => event.persisted && connection.close());
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    kept = true;
    if (token() === signedIn) wake();
    else makeAnew();
  });
  client.addEventListener("state", ({ detail: { name } }) => {
    if (name === "live") kept = false;
    else if (name === "refused" && kept) makeAnew();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") {
      wake();
      onseen();
    } else {
      restLater();
    }
  });
  restLater();
}

/** The cookie's CSRF token, which every sign-in and sign-out replaces. */
function token() {
  const [, value = ""] = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie) ?? [];
  return value;
}

/** What a request that changes something needs besides the session. */
export const csrf = () => ({ "X-CSRFToken": token() });
