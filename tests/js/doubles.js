/** What the pure modules are given in place of the world: time that only moves when told, and sockets with two ends. */

export class Clock {
  time = 1_000_000;
  #timers = new Map();
  #next = 1;

  now() {
    return this.time;
  }

  set(callback, delay) {
    this.#timers.set(this.#next, { at: this.time + delay, callback });
    return this.#next++;
  }

  clear(timer) {
    this.#timers.delete(timer);
  }

  /** Let so many milliseconds pass; what falls due happens in its order. */
  pass(duration) {
    const end = this.time + duration;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      const [id, timer] = due;
      this.#timers.delete(id);
      this.time = timer.at;
      timer.callback();
    }
    this.time = end;
  }
}

/** A socket as the server sees it: `sent` are the client's frames; `say` and `end` are the server's. */
export class Socket {
  sent = [];
  open = true;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data) {
    this.sent.push(JSON.parse(data));
  }

  close(code) {
    this.open = false;
    this.closedWith = code;
  }

  say(...frames) {
    for (const frame of frames) this.onmessage({ data: JSON.stringify(frame) });
  }

  end(code) {
    this.open = false;
    this.onclose({ code });
  }

  take(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

export const WELCOME = {
  type: "welcome",
  protocol: "rejoin.v1",
  user: { id: 1, name: "ann" },
  limits: { frame: 65536, message: 32768, window: 50, queued: 20 },
  models: ["demo"],
  server_time: "2026-01-01T00:00:00.000Z",
};

/** A server's rows, with what a test does not care about filled in. */
export function messageRow(id, fields = {}) {
  const row = {
    id,
    parent: null,
    after: null,
    siblings: [id],
    role: "user",
    author: "",
    status: "complete",
    run: null,
    seq: 0,
    version: 1,
    created_at: "2026-01-01T00:00:00.000Z",
    updated_at: "2026-01-01T00:00:00.000Z",
    ...fields,
  };
  if (row.text !== undefined) {
    row.text_length = [...row.text].length;
    row.reasoning ??= "";
    row.reasoning_length = [...row.reasoning].length;
  }
  return row;
}

export function runRow(id, fields = {}) {
  const row = { prompt: "q", messages: [], state: "running", place: null, seq: 1_000_000, error: null, left_out: 0 };
  return { id, ...row, ...fields };
}

export function change(from, to, { row, messages = [], runs = [], cursor = `${to}` } = {}) {
  const own = row && { row: { id: "t", title: "", ...row } };
  return { type: "change", thread: "t", from, to, ...own, messages, runs, cursor };
}

export function delta(from, to, parts, run = "r") {
  return { type: "delta", thread: "t", run, from, to, parts, cursor: `2.${run}.${to}` };
}

export const caughtUp = (cursor = "2") => ({ type: "caught_up", thread: "t", cursor });

/** HTTP as the server sees it: `requests` are those that wait for an answer, oldest first; `all` are all there were. */
export class Server {
  all = [];
  requests = [];

  fetch = (url, { method = "GET", headers, body, signal, keepalive }) => {
    const { promise, resolve, reject } = Promise.withResolvers();
    const { pathname, search, searchParams } = new URL(url);
    const asked = Object.fromEntries(searchParams);
    const request = { method, path: pathname, search, asked, headers, signal, keepalive };
    if (body !== undefined) request.body = JSON.parse(body);
    const done = () => (this.requests = this.requests.filter((other) => other !== request));
    request.answer = (value, status = 200) => {
      done();
      resolve(new Response(typeof value === "string" ? value : JSON.stringify(value), { status }));
      return settled();
    };
    request.fail = () => {
      done();
      reject(new TypeError("the network is gone"));
      return settled();
    };
    /** Answers with a stream: `say(text)`, `end()`, `fail()`. */
    request.stream = async () => {
      done();
      let source;
      const body = new ReadableStream({ start: (controller) => (source = controller) });
      const bytes = new TextEncoder();
      const stream = {
        say: (text) => (source.enqueue(bytes.encode(text)), settled()),
        send: (frame) => {
          const id = frame.cursor ? `id: ${frame.cursor}\n` : "";
          return stream.say(`event: ${frame.type}\n${id}data: ${JSON.stringify(frame)}\n\n`);
        },
        end: () => (source.close(), settled()),
        fail: () => (source.error(new TypeError("the network is gone")), settled()),
      };
      signal.addEventListener("abort", () => source.error(signal.reason));
      resolve(new Response(body));
      await stream.say("retry: 1000\n\n");
      return stream;
    };
    signal.addEventListener("abort", () => (done(), reject(signal.reason)));
    this.all.push(request);
    this.requests.push(request);
    return promise;
  };

  /** The oldest request to this path that waits for an answer. */
  take(path) {
    const found = this.requests.find((request) => request.path === path);
    if (found === undefined) throw new Error(`${path} was not asked for, but ${this.requests.map(({ path }) => path)}`);
    return found;
  }

  asked(path) {
    return this.requests.some((request) => request.path === path);
  }
}

/** When everything that is not waiting for time or the other side has happened. */
export async function settled() {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
