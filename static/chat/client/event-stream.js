/** Server-sent events, read from a response's body: what EventSource does, but with headers, and a reader who may leave. */

/**
 * Yields a list of events `{type, data, id}` for each piece that arrives, an empty one too: it is a sign of life. `id` is
 * undefined where an event has none. A `retry` line yields `{type: "retry", data}` with milliseconds.
 */
export async function* read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const parse = parser();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield parse(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** A function that takes pieces of the text, cut anywhere, and returns the events that each piece completes. */
export function parser() {
  let rest = "";
  let type = "message";
  let data = [];
  let id;

  function take(line) {
    const events = [];
    if (line === "") {
      if (data.length) events.push({ type, data: data.join("\n"), id });
      [type, data, id] = ["message", [], undefined];
      return events;
    }
    const [, field, value] = /^([^:]*)(?:: ?)?(.*)$/s.exec(line);
    if (field === "event") type = value;
    else if (field === "data") data.push(value);
    else if (field === "id") id = value;
    else if (field === "retry" && /^\d+$/.test(value)) events.push({ type: "retry", data: value, id: undefined });
    return events;
  }

  return (piece) => {
    rest += piece;
    // A carriage return at the end may be the first half of a line's end.
    const whole = rest.endsWith("\r") ? rest.length - 1 : rest.length;
    const lines = rest.slice(0, whole).split(/\r\n|\n|\r/);
    rest = lines.pop() + rest.slice(whole);
    return lines.flatMap(take);
  };
}
