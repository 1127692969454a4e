/** What the application hands in, checked at the moment at which it is handed in. */

/** The defaults of the options that are numbers; all times are in milliseconds. */
export const DEFAULTS = Object.freeze({
  /** How long a command waits for its answer, time without a connection included. */
  timeout: 30_000,
  /** How long one attempt may take, from the call of `getToken` to the answer to the login. */
  connectTimeout: 15_000,
  /** Commands that may wait for an answer at once; more are refused with `queue_full`. */
  pendingMax: 256,
  /** The first wait before a reconnect is random between 0 and this; it doubles with each. */
  backoffBase: 500,
  /** No wait before a reconnect is longer than this, unless the server asks for it. */
  backoffMax: 30_000,
  /** A connection that lasted this long makes the next wait a first one again. */
  stableAfter: 10_000,
  /** How long the answer to `PING` may take before the connection counts as dead. */
  probeTimeout: 10_000,
  /** Acks are gathered for this long, so that a busy room isn't one ack a message. */
  ackDelay: 500,
});

/** The options that are numbers; one that is undefined has its default. */
export function numbersOf(options) {
  const entries = Object.entries(DEFAULTS).map(([name, missing]) => {
    const value = options[name] ?? missing;
    if (!isDuration(value)) throw new TypeError(`${name} must be a number that isn't negative`);
    return [name, value];
  });
  return Object.fromEntries(entries);
}

/** The server's address: the one given, or `ws` beside the page. */
export function addressOf(given) {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (!given && !page) throw new TypeError("url is missing, and there is no page that it could be taken from");
  let url;
  try {
    url = given ? new URL(given, page) : new URL("ws", page);
  } catch {
    throw new TypeError(`url can't be read: ${given ?? page}`);
  }
  url.protocol = { "https:": "wss:", "http:": "ws:" }[url.protocol] ?? url.protocol;
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw new TypeError(`url must begin with ws:// or wss://: ${url}`);
  if (!given) url.search = "";
  url.hash = ""; // a WebSocket takes no fragment
  return url.href;
}

export function roomName(room) {
  if (typeof room !== "string" || room === "") throw new TypeError("a room's name must be a string that isn't empty");
  return room;
}

export function target(to) {
  if (typeof to !== "string") return to;
  if (to === "*") return { all: true };
  return to.startsWith("@") ? { user: to.slice(1) } : { room: to };
}

export function isDuration(value) {
  return typeof value === "number" && value >= 0;
}
