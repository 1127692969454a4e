/**
 * A connection made of a stream of events and of posts, for networks that break WebSockets. It looks like
 * a WebSocket to the client: the same frames come, and commands that HTTP knows are carried out by it.
 */

import { ABNORMAL } from "./ending.js";

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

/** Whether this place has all that a stream needs. */
export function canStream({ EventSource = globalThis.EventSource, fetch = globalThis.fetch } = {}) {
  return typeof EventSource === "function" && typeof fetch === "function";
}

/**
 * Whether the server of a WebSocket answers by HTTP. What a page of another origin may not read says at
 * least that somebody answers.
 *
 * @param {string} address of the WebSocket
 * @param {{ fetch?: any }} [means]
 */
export async function isReachable(address, { fetch = globalThis.fetch } = {}) {
  const url = new URL("healthz", address.replace(/^ws/, "http"));
  url.search = "";
  try {
    const answer = await fetch(url, { mode: "no-cors", cache: "no-store" });
    return answer.ok || answer.type === "opaque";
  } catch {
    return false;
  }
}

export class StreamSocket {
  #EventSource;
  #fetch;
  #address;
  #source = null;
  #uid;
  #token;
  /** The number of the login, until its answer has come: the stream's own answer names none. */
  #loginSeq = null;
  /** The posts, one after the other, so that what was said first is said first. */
  #posts = Promise.resolve();
  readyState = CONNECTING;
  onmessage = null;
  onclose = null;
  onerror = null;

  /**
   * @param {string} address of the WebSocket that can't be had
   * @param {{ EventSource?: any, fetch?: any }} [means]
   */
  constructor(address, { EventSource, fetch } = {}) {
    this.#EventSource = EventSource ?? globalThis.EventSource;
    this.#fetch = fetch ?? globalThis.fetch.bind(globalThis);
    this.#address = new URL(address);
    this.#address.protocol = this.#address.protocol === "wss:" ? "https:" : "http:";
    this.#address.search = "";
    // The stream opens with the login in its query, so the client has to be asked for that first.
    queueMicrotask(() => this.#hear({ type: "hello" }));
  }

  /** @param {string} text a frame of the client */
  send(text) {
    if (text === "PING") {
      // Heartbeats aren't shown: an open stream is all that can be known.
      if (this.readyState === OPEN) queueMicrotask(() => this.#emit("PONG"));
      return;
    }
    const command = JSON.parse(text);
    if (command.type === "login") this.#login(command);
    else if (command.type === "say") this.#posts = this.#posts.then(() => this.#say(command));
    else if (command.seq !== undefined) this.#refuse(command.seq, { message: "this can't be asked while WebSockets fail" });
    // What is not answered, such as an ack, goes out once more on the next WebSocket.
  }

  close() {
    this.#source?.close();
    this.readyState = CLOSED;
  }

  #login({ seq, uid, token, rooms = [], resume = {} }) {
    this.#uid = uid;
    this.#token = token;
    this.#loginSeq = seq;
    const url = this.#url("v1/events");
    if (uid !== undefined) url.searchParams.set("uid", uid);
    if (token !== undefined) url.searchParams.set("token", token);
    for (const room of rooms) url.searchParams.append("room", room);
    if (Object.keys(resume).length > 0) url.searchParams.set("resume", JSON.stringify(resume));
    const source = new this.#EventSource(url.href);
    this.#source = source;
    source.onopen = () => (this.readyState = OPEN);
    source.onmessage = ({ data }) => this.#take(data);
    source.addEventListener("close", ({ data }) => this.#ended(...codeAndReason(data)));
    // It would come back by itself, and ask for what was missing when it was made: the client knows better.
    source.onerror = () => this.#ended(ABNORMAL, "the stream of events broke off");
  }

  #take(data) {
    if (this.#loginSeq === null) return this.#emit(data);
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return this.#emit(data);
    }
    if ((frame?.type === "ok" || frame?.type === "err") && frame.seq === null) {
      frame.seq = this.#loginSeq;
      this.#loginSeq = null;
      return this.#hear(frame);
    }
    return this.#emit(data);
  }

  async #say({ seq, to, data, id, store, from }) {
    if (this.readyState === CLOSED) return;
    const headers = { "Content-Type": "application/json" };
    if (this.#token !== undefined) headers.Authorization = `Bearer ${this.#token}`;
    // Without a token everybody is whoever they say.
    const sender = from ?? (this.#token === undefined ? this.#uid : undefined);
    const body = JSON.stringify({ to, data, id, store, from: sender });
    try {
      const response = await this.#fetch(this.#url("v1/messages").href, { method: "POST", headers, body });
      const answer = await response.json();
      if (response.ok) this.#hear({ ...answer.results[0], type: "ok", seq });
      else this.#refuse(seq, { ...answer.error, retry: response.status >= 500 || response.status === 429 });
    } catch (error) {
      // It may have arrived: the next connection says it again, under the same id.
      this.#ended(ABNORMAL, `can't post: ${error?.message}`);
    }
  }

  #refuse(seq, { code = "unavailable", message = "", retry = true }) {
    this.#hear({ type: "err", seq, code, message, retry });
  }

  #hear(frame) {
    this.#emit(JSON.stringify(frame));
  }

  #emit(data) {
    if (this.readyState !== CLOSED) this.onmessage?.({ data });
  }

  #ended(code, reason) {
    if (this.readyState === CLOSED) return;
    this.close();
    this.onclose?.({ code, reason });
  }

  /** A path beside the WebSocket's. */
  #url(path) {
    return new URL(path, this.#address);
  }
}

/** Reads `4005 the token's time is over`. */
function codeAndReason(data) {
  const [code, ...words] = String(data).split(" ");
  return [Number(code) || ABNORMAL, words.join(" ")];
}
