/** The transport that is meant: one websocket. See connection.js for what a transport is. */

export const PROTOCOL = "rejoin.v1";

export class WebSocketTransport {
  #socket;

  /** `token`: an API token, where no cookie signs in. `open(url, protocols)` makes a WebSocket. */
  constructor({ url, token = null, open = (at, protocols) => new WebSocket(at, protocols) }) {
    // A browser's WebSocket can send no header of ours.
    this.#socket = open(url, token === null ? [PROTOCOL] : [PROTOCOL, `bearer.${token}`]);
    this.#socket.onopen = () => this.onopen();
    this.#socket.onmessage = (message) => this.onframe(JSON.parse(message.data));
    this.#socket.onclose = (close) => this.onclose(close.code);
  }

  get via() {
    return "websocket";
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  close(code) {
    this.#socket.close(code);
  }
}
