/**
 * A client for tidings: one connection that comes back by itself, without holes or doubles.
 *
 * It keeps a position (epoch and offset) for every channel and asks for what it missed after each
 * reconnect; what it said and has no answer for is said again under the same id, which the server
 * takes only once. It has no dependencies and runs in browsers and in Node 20 or newer (which has
 * no global WebSocket before version 22: hand in the class of the package `ws`).
 *
 * ```js
 * import { Client } from "/client.js";
 * const client = new Client({ uid: "ann", rooms: ["lobby"] });
 * client.on("message", ({ channel, from, data }) => console.log(channel, from, data));
 * await client.connect();
 * await client.say("lobby", { text: "hello" });
 * ```
 *
 * Invariant: of one channel and epoch, `message` is emitted in the order of the offsets, each once.
 *
 * @module
 */

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

/** Close codes after which the server doesn't want this client back (it may be told to, though). */
const FINAL_CODES = new Map([
  [4001, "unauthorized"],
  [4003, "replaced"],
  [4004, "kicked"],
]);
const TOO_BIG = 1009;
const OVER_CAPACITY = 1013;
const TOKEN_EXPIRED = 4005;
const SLOW_READER = 4008;
const RATE_LIMITED = 4009;

/** A server that is over its capacity isn't asked again before this attempt's wait. */
const CROWDED_ATTEMPT = 3;
/** A refused login is followed by a Close whose code says more; it is awaited for this long. */
const REFUSED_WAIT = 2_000;
/** The longest wait that a `drain` can ask for. */
const DRAIN_MAX = 600_000;
/** Seconds between the server's pings when its `hello` names none. */
const PING_DEFAULT = 25;

/** What went wrong, by one of the protocol's codes or one of the client's own: `timeout`, `queue_full`, `closed`. */
export class TidingsError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retry?: boolean, closeCode?: number, room?: string }} [more]
   */
  constructor(code, message, { retry = false, closeCode, room } = {}) {
    super(message);
    this.name = "TidingsError";
    this.code = code;
    /** Whether the same command may succeed later. */
    this.retry = retry;
    this.closeCode = closeCode;
    this.room = room;
  }
}

/** Makes an id that nobody else makes: 128 random bits as 32 hexadecimal digits. */
export function makeId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One user's connection to a server; see `client.d.ts` for the types of everything here. */
export class Client {
  #options;
  #clock;
  #random;
  #listeners = new Map();
  /** @type {"idle" | "connecting" | "online" | "waiting" | "closed"} */
  #state = "idle";
  #ready = null;
  /** The attempt or connection under way; everything that belongs to one socket dies with it. */
  #link = null;
  #attempt = 0;
  #retryTimer = null;
  #tokenExpired = false;
  #seq = 0;
  /** Commands without an answer, by seq, in the order in which they were given. */
  #pending = new Map();
  /** Rooms to be in after each login. */
  #rooms = new Set();
  /** Rooms left, until the server has said so: what still comes from them is dropped. */
  #leaving = new Set();
  /** Channel → `{ epoch, offset, resume }`; `offset` is null until the first position is known. */
  #channels = new Map();
  /** Channel → the newest offset acked; those still to be sent are named in `#acksDue`. */
  #acks = new Map();
  #acksDue = new Set();
  #ackTimer = null;
  #wakeups = null;

  /** @param {import("./client.d.ts").ClientOptions} options */
  constructor(options) {
    if (typeof options?.uid !== "string" || options.uid === "") {
      throw new TypeError("uid must be a string that isn't empty");
    }
    this.#options = { ...DEFAULTS, ...options };
    this.#clock = options.clock ?? {
      now: () => Date.now(),
      setTimeout: (run, ms) => setTimeout(run, ms),
      clearTimeout: (timer) => clearTimeout(timer),
    };
    this.#random = options.random ?? Math.random;
    for (const room of options.rooms ?? []) this.#rooms.add(room);
    for (const [channel, resume] of Object.entries(options.resume ?? {})) {
      this.#channels.set(channel, unknownPosition(resume));
    }
  }

  /** Who this client is. */
  get uid() {
    return this.#options.uid;
  }

  /** Where the connection stands: `idle`, `connecting`, `online`, `waiting` or `closed`. */
  get state() {
    return this.#state;
  }

  /** The server's number for the present connection, or null without one. */
  get fd() {
    return this.#link?.hello?.fd ?? null;
  }

  /** The rooms this client is in, or will be as soon as it is connected. */
  get rooms() {
    return [...this.#rooms];
  }

  /** How many commands wait for an answer. */
  get pending() {
    return this.#pending.size;
  }

  /**
   * The last position seen in a channel, or null; store it to resume there after a reload.
   *
   * @param {string} channel
   */
  position(channel) {
    const known = this.#channels.get(channel);
    return known && known.offset !== null ? { epoch: known.epoch, offset: known.offset } : null;
  }

  /**
   * Calls `listener` for every event of that name; the function returned ends that.
   *
   * @param {string} name
   * @param {(detail: any) => void} listener
   */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /**
   * Connects and logs in, and stays connected from then on.
   *
   * The promise is kept by the first login, however many attempts that takes; it is broken only by
   * what makes further attempts pointless (a bad token, a refused login, `close`). May be called
   * again after that.
   */
  connect() {
    if (this.#state === "idle" || this.#state === "closed") {
      this.#ready = deferred();
      this.#attempt = 0;
      this.#listenForWakeups();
      this.#open();
    }
    return this.#ready.promise;
  }

  /** Leaves for good: closes the connection and refuses what still waits for an answer. */
  close() {
    if (this.#state === "closed") return;
    this.#finish(new TidingsError("closed", "the client was closed"));
  }

  /**
   * Looks after the connection now: asks a silent server for a sign of life, or ends the wait for
   * the next attempt. Browsers' `online` and `visibilitychange` events call it.
   */
  wake() {
    if (this.#state === "waiting" && !this.#link) {
      this.#clock.clearTimeout(this.#retryTimer);
      this.#open();
    } else if (this.#state === "online") {
      this.#probe(this.#link);
    }
  }

  /**
   * Hands the server a fresh token on the present connection, and keeps it for the next ones.
   *
   * @param {string} [token] without one, `getToken` is asked
   */
  async renew(token) {
    this.#options.token = token ?? (await this.#freshToken(true));
    if (this.#state !== "online") return;
    await this.#request({ type: "login", uid: this.uid, token: this.#options.token });
  }

  /**
   * Joins a room, now and after every reconnect.
   *
   * @param {string} room
   * @param {{ resume?: "acked" | { epoch: string, offset: number }, timeout?: number }} [options]
   */
  async join(room, { resume, timeout } = {}) {
    this.#leaving.delete(room);
    const wasIn = this.#rooms.has(room);
    this.#rooms.add(room);
    if (!this.#channels.has(room) && resume) this.#channels.set(room, unknownPosition(resume));
    try {
      const answer = await this.#request(
        { type: "join", room, resume: resumeOf(this.#channels.get(room)) },
        timeout,
      );
      return answer.channels?.[room] ?? {};
    } catch (error) {
      if (!wasIn) this.#forget(room);
      throw error;
    }
  }

  /**
   * Leaves a room; messages of it that are still on the way are dropped.
   *
   * @param {string} room
   * @param {{ timeout?: number }} [options]
   */
  async leave(room, { timeout } = {}) {
    this.#forget(room);
    if (this.#state !== "online") return;
    this.#leaving.add(room);
    try {
      await this.#request({ type: "leave", room }, timeout);
    } finally {
      this.#leaving.delete(room);
    }
  }

  /**
   * Says something; the promise is kept when the server has it (on disk, in a stored channel).
   *
   * Without an answer it is said again after each reconnect, under the same id, so that it is
   * stored and delivered once. After a `timeout` nobody knows whether it arrived: say it again
   * with the same `id`, within the five minutes for which the server remembers ids.
   *
   * @param {string | object} to `"lobby"`, `"@bob"`, `"*"`, or the protocol's own `to`
   * @param {any} data
   * @param {{ id?: string, store?: boolean, from?: string, timeout?: number }} [options]
   */
  say(to, data, { id = makeId(), store, from, timeout } = {}) {
    const max = this.#link?.hello?.max;
    const size = bytesOf(JSON.stringify(data) ?? "");
    if (size === 0) return Promise.reject(new TidingsError("bad_request", "data is no JSON"));
    if (max && size > max) {
      const message = `data has ${size} bytes, the server takes ${max}`;
      return Promise.reject(new TidingsError("too_large", message));
    }
    return this.#request({ type: "say", to: target(to), data, id, store, from }, timeout);
  }

  /**
   * A page of a channel's kept messages: oldest first, or newest first with `before` alone.
   *
   * @param {string} channel
   * @param {{ after?: number, before?: number, limit?: number, timeout?: number }} [options]
   */
  history(channel, { after, before, limit, timeout } = {}) {
    return this.#request({ type: "history", channel, after, before, limit }, timeout);
  }

  /**
   * Who is in a room.
   *
   * @param {string} room
   * @param {{ timeout?: number }} [options]
   */
  who(room, { timeout } = {}) {
    return this.#request({ type: "who", room }, timeout);
  }

  /**
   * Which of these users are connected, by user.
   *
   * @param {string[]} users
   * @param {{ timeout?: number }} [options]
   */
  async online(users, { timeout } = {}) {
    return (await this.#request({ type: "online", users }, timeout)).online;
  }

  /**
   * Tells the server that this user has everything up to `offset`; sent soon, and not answered.
   *
   * @param {string} channel
   * @param {number} offset
   */
  ack(channel, offset) {
    if (offset <= (this.#acks.get(channel) ?? 0)) return;
    this.#acks.set(channel, offset);
    this.#acksDue.add(channel);
    this.#ackTimer ??= this.#clock.setTimeout(() => this.#flushAcks(), this.#options.ackDelay);
  }

  // ---- The life of a connection -------------------------------------------------------------

  async #open() {
    const link = {
      socket: null,
      hello: null,
      loginSeq: null,
      /** Logged in without rooms, since the login with them was refused; they are joined singly. */
      bare: false,
      onlineSince: null,
      heard: this.#clock.now(),
      /** A `PING` is out, and nothing at all was heard since. */
      probing: false,
      drainUntil: null,
      refused: null,
      kick: null,
      deadline: null,
      watchdog: null,
    };
    this.#link = link;
    this.#setState("connecting", { attempt: this.#attempt });
    link.deadline = this.#clock.setTimeout(
      () => this.#lost(link, 0, "no login in time"),
      this.#options.connectTimeout,
    );
    try {
      if (this.#options.getToken) {
        this.#options.token = await this.#freshToken(this.#tokenExpired);
      }
      if (this.#link !== link) return;
      link.socket = new (this.#options.WebSocket ?? globalThis.WebSocket)(this.#url());
    } catch (error) {
      if (this.#link !== link) return;
      this.#emit("error", error);
      this.#lost(link, 0, "no connection could be tried");
      return;
    }
    // The handlers stay after the link is given up, so that a late error has somewhere to go.
    link.socket.onmessage = ({ data }) => this.#link === link && this.#receive(link, data);
    link.socket.onclose = ({ code, reason }) => this.#lost(link, code, String(reason));
    link.socket.onerror = () => {};
  }

  async #freshToken(refresh) {
    const { getToken, token } = this.#options;
    return getToken ? await getToken({ refresh }) : token;
  }

  #url() {
    if (this.#options.url) return String(this.#options.url);
    const url = new URL("ws", globalThis.document?.baseURI ?? globalThis.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.search = url.hash = "";
    return url.href;
  }

  /** A link is over, for whatever reason: decide whether and when there is a next one. */
  #lost(link, code, reason) {
    if (this.#link !== link) return;
    this.#drop(link);
    const now = this.#clock.now();
    const { onlineSince, drainUntil } = link;
    const final = this.#finalError(link, code, reason);
    if (final) {
      this.#finish(final);
      return;
    }
    if (code === TOO_BIG) this.#refuseLargest();
    this.#tokenExpired = code === TOKEN_EXPIRED;
    if (onlineSince !== null) {
      const stable = now - onlineSince >= this.#options.stableAfter;
      if (stable || code === SLOW_READER) this.#attempt = 0;
    }
    if (code === OVER_CAPACITY || code === RATE_LIMITED) {
      this.#attempt = Math.max(this.#attempt, CROWDED_ATTEMPT);
    }
    const delay = drainUntil === null ? this.#backoff() : Math.max(0, drainUntil - now);
    this.#attempt += 1;
    this.#retryTimer = this.#clock.setTimeout(() => this.#open(), delay);
    this.#setState("waiting", { delay, code, reason, attempt: this.#attempt });
  }

  /** Full jitter: anything between nothing and a bound that doubles with every attempt. */
  #backoff() {
    const { backoffBase, backoffMax } = this.#options;
    return this.#random() * Math.min(backoffMax, backoffBase * 2 ** this.#attempt);
  }

  #finalError(link, code, reason) {
    const more = { closeCode: code };
    if (link.kick) return new TidingsError(link.kick.code, link.kick.message, more);
    if (FINAL_CODES.has(code)) {
      const message = link.refused?.message || reason || `closed with code ${code}`;
      return new TidingsError(FINAL_CODES.get(code), message, more);
    }
    if (code === TOKEN_EXPIRED) {
      if (this.#options.getToken) return null;
      return new TidingsError("unauthorized", "the token expired and there is no getToken", more);
    }
    return link.refused && !link.refused.retry ? link.refused : null;
  }

  #finish(error) {
    if (this.#link) this.#drop(this.#link);
    this.#clock.clearTimeout(this.#retryTimer);
    this.#clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    this.#wakeups?.();
    this.#setState("closed", { code: error.closeCode, reason: error.message, error });
    this.#ready?.reject(error);
    for (const command of [...this.#pending.values()]) {
      this.#settle(command, new TidingsError("closed", `not answered: ${error.message}`));
    }
  }

  /** Lets go of a link: no event of it counts any more, even when its socket takes long to die. */
  #drop(link) {
    this.#link = null;
    this.#clock.clearTimeout(link.deadline);
    this.#clock.clearTimeout(link.watchdog);
    if (link.socket && link.socket.readyState <= 1) link.socket.close(1000);
  }

  #listenForWakeups() {
    const target = this.#options.wakeups ?? globalThis;
    if (typeof target.addEventListener !== "function") return;
    const wake = () => globalThis.document?.visibilityState !== "hidden" && this.wake();
    const names = ["online", "offline", "visibilitychange", "pageshow"];
    for (const name of names) target.addEventListener(name, wake);
    this.#wakeups = () => {
      for (const name of names) target.removeEventListener(name, wake);
      this.#wakeups = null;
    };
  }

  /** The server asks to come back in a while; it closes, but doesn't have to be waited for. */
  #drain(link, after) {
    link.drainUntil = this.#clock.now() + after;
    this.#clock.clearTimeout(link.deadline);
    link.deadline = this.#clock.setTimeout(() => this.#lost(link, 0, "drained"), after);
  }

  // ---- Signs of life ------------------------------------------------------------------------

  /** A browser doesn't show the server's pings, so silence alone proves nothing: ask. */
  #watch(link) {
    const silence = (link.hello.ping > 0 ? link.hello.ping : PING_DEFAULT) * 1_500 + 10_000;
    const left = link.heard + silence - this.#clock.now();
    link.watchdog = this.#clock.setTimeout(() => {
      if (link.heard + silence > this.#clock.now()) this.#watch(link);
      else this.#probe(link);
    }, left);
  }

  #probe(link) {
    if (link.probing) return;
    link.probing = true;
    this.#clock.clearTimeout(link.watchdog);
    link.socket.send("PING");
    link.watchdog = this.#clock.setTimeout(() => {
      if (link.probing) this.#lost(link, 0, "no answer to PING");
      else this.#watch(link);
    }, this.#options.probeTimeout);
  }

  // ---- What the server says -----------------------------------------------------------------

  #receive(link, text) {
    link.heard = this.#clock.now();
    link.probing = false;
    if (typeof text !== "string" || text === "PONG") return;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#emit("error", new TidingsError("internal", "the server sent what is no JSON"));
      return;
    }
    const { type, ...detail } = frame;
    switch (type) {
      case "hello":
        link.hello = detail;
        this.#login(link);
        break;
      case "ok":
        if (link.loginSeq !== null && detail.seq === link.loginSeq) this.#loggedIn(link, detail);
        else this.#answered(detail);
        break;
      case "err":
        this.#refused(link, detail);
        break;
      case "msg":
        this.#message(detail);
        break;
      case "gap":
        this.#channels.set(detail.channel, { epoch: detail.epoch, offset: detail.offset });
        this.#emit("gap", detail);
        break;
      case "drain":
        this.#drain(link, Math.min(Math.max(0, detail.after_ms ?? 0), DRAIN_MAX));
        this.#emit("drain", detail);
        break;
      case "kick":
        link.kick = { code: detail.code ?? "kicked", message: detail.message ?? "" };
        this.#emit("kick", detail);
        break;
      case "joined":
      case "left":
        this.#emit(type, detail);
        break;
      default: // a newer server may say more than this client knows
    }
  }

  #login(link) {
    link.loginSeq = ++this.#seq;
    // No prototype: a room may be called `__proto__`.
    const resume = Object.create(null);
    for (const [channel, known] of this.#channels) {
      const from = resumeOf(known);
      if (from && !(link.bare && this.#rooms.has(channel))) resume[channel] = from;
    }
    const login = {
      type: "login",
      seq: link.loginSeq,
      uid: this.uid,
      token: this.#options.token,
      rooms: link.bare ? [] : this.rooms,
      resume,
    };
    link.socket.send(JSON.stringify(login));
  }

  #loggedIn(link, answer) {
    this.#clock.clearTimeout(link.deadline);
    link.loginSeq = null;
    link.onlineSince = this.#clock.now();
    this.#tokenExpired = false;
    this.#watch(link);
    const channels = answer.channels ?? {};
    for (const [channel, info] of Object.entries(channels)) {
      this.#subscribed(channel, info);
      if (isRoom(channel)) this.#rooms.add(channel);
    }
    this.#settleRooms(link, channels);
    // What waited goes out before anyone hears of the login and says something new.
    for (const command of this.#pending.values()) this.#send(command);
    this.#ready.resolve(answer);
    this.#setState("online", {});
    this.#emit("login", { fd: this.fd, node: link.hello.node, channels });
    this.#flushAcks();
  }

  /** A login is the answer to every join and leave that waited for one. */
  #settleRooms(link, channels) {
    const waiting = [...this.#pending.values()];
    for (const command of waiting) {
      if (command.type === "leave" || command.type === "login") this.#settle(command, null, {});
      if (command.type === "join" && Object.hasOwn(channels, command.room)) {
        this.#settle(command, null, { channels });
      }
    }
    for (const room of this.#rooms) {
      if (Object.hasOwn(channels, room)) continue;
      const asked = waiting.some(({ type, room: name }) => type === "join" && name === room);
      if (link.bare && !asked) this.join(room).catch((error) => this.#roomLost(room, error));
      if (link.bare || asked) continue;
      this.#roomLost(room, new TidingsError("forbidden", "the login left this room out"));
    }
  }

  #roomLost(room, { code, message, retry }) {
    this.#forget(room);
    this.#emit("error", new TidingsError(code, message, { retry, room }));
  }

  /** Takes over the position that a login or a join reported, and says so when there is a hole. */
  #subscribed(channel, { epoch = null, offset = null, recovered }) {
    const known = this.#channels.get(channel);
    const asked = resumeOf(known) !== undefined;
    if (asked && recovered !== false) {
      // What was missed follows, and moves the position as it comes.
      known.epoch ??= epoch;
      return;
    }
    this.#channels.set(channel, { epoch, offset });
    if (!asked) return;
    this.#unack(channel);
    const previous = known.offset === null ? null : { epoch: known.epoch, offset: known.offset };
    const hole = { channel, epoch, offset, recovered: false, previous };
    this.#emit(previous?.epoch === epoch ? "gap" : "restarted", hole);
  }

  #message(message) {
    const { channel, epoch, offset } = message;
    if (this.#leaving.has(channel)) return;
    if (Number.isInteger(offset) && !this.#advance(channel, epoch, offset)) return;
    this.#emit("message", message);
  }

  /** Moves a channel's position on; false for what was seen before. */
  #advance(channel, epoch, offset) {
    const known = this.#channels.get(channel);
    const previous = this.position(channel);
    if (previous && previous.epoch === epoch && offset <= previous.offset) return false;
    if (!known && isRoom(channel)) this.#rooms.add(channel); // a lasting membership, just given
    this.#channels.set(channel, { epoch, offset });
    const hole = { channel, epoch, offset: offset - 1, recovered: false, previous };
    if (previous && previous.epoch !== epoch) {
      this.#unack(channel);
      this.#emit("restarted", hole);
    } else if (previous && offset > previous.offset + 1) {
      this.#emit("gap", hole);
    }
    return true;
  }

  #answered({ seq, ...answer }) {
    const command = this.#pending.get(seq);
    if (!command) return;
    if (command.type === "join") {
      for (const [channel, info] of Object.entries(answer.channels ?? {})) {
        this.#subscribed(channel, info);
      }
    }
    this.#settle(command, null, answer);
  }

  #refused(link, { seq = null, code = "internal", message = "", retry = false }) {
    const error = new TidingsError(code, message, { retry });
    const command = this.#pending.get(seq);
    if (command) {
      this.#settle(command, error);
    } else if (seq !== null && seq === link.loginSeq) {
      this.#loginRefused(link, error);
    } else {
      this.#emit("error", error);
    }
  }

  #loginRefused(link, error) {
    const aboutRooms = ["forbidden", "not_found", "bad_request"].includes(error.code);
    if (aboutRooms && !link.bare && this.#rooms.size > 0) {
      // One room that can't be joined must not lock the user out of the others.
      link.bare = true;
      this.#login(link);
      return;
    }
    link.refused = error;
    this.#clock.clearTimeout(link.deadline);
    const over = () => this.#lost(link, 0, error.message);
    link.deadline = this.#clock.setTimeout(over, REFUSED_WAIT);
  }

  // ---- What the client says -----------------------------------------------------------------

  #request(command, timeout = this.#options.timeout) {
    if (this.#state === "closed") {
      return Promise.reject(new TidingsError("closed", "the client is closed"));
    }
    if (this.#pending.size >= this.#options.pendingMax) {
      const message = `${this.#pending.size} commands wait for an answer already`;
      return Promise.reject(new TidingsError("queue_full", message, { retry: true }));
    }
    const seq = ++this.#seq;
    const { promise, resolve, reject } = deferred();
    const frame = JSON.stringify({ ...command, seq });
    const { type, room } = command;
    const waiting = { seq, type, room, frame, link: null, resolve, reject };
    waiting.timer = this.#clock.setTimeout(() => {
      const message = `no answer to ${command.type} within ${timeout} ms`;
      this.#settle(waiting, new TidingsError("timeout", message, { retry: true }));
    }, timeout);
    this.#pending.set(seq, waiting);
    // A server that drains may not answer any more; the next connection takes what is new.
    if (this.#state === "online" && this.#link.drainUntil === null) this.#send(waiting);
    return promise;
  }

  #settle(command, error, answer) {
    this.#pending.delete(command.seq);
    this.#clock.clearTimeout(command.timer);
    if (error) command.reject(error);
    else command.resolve(answer);
  }

  /** The server closed on a frame that was too big: said again, it would do so for ever. */
  #refuseLargest() {
    const commands = [...this.#pending.values()];
    const largest = commands.sort((a, b) => b.frame.length - a.frame.length)[0];
    if (largest) this.#settle(largest, new TidingsError("too_large", "the server closed on it"));
  }

  #flushAcks() {
    this.#clock.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    if (this.#state !== "online") return; // the next login sends them
    for (const channel of this.#acksDue) {
      const offset = this.#acks.get(channel);
      this.#link.socket.send(JSON.stringify({ type: "ack", channel, offset }));
    }
    this.#acksDue.clear();
  }

  #send(command) {
    command.link = this.#link;
    this.#link.socket.send(command.frame);
  }

  #forget(room) {
    this.#rooms.delete(room);
    this.#channels.delete(room);
    this.#unack(room);
  }

  #unack(channel) {
    this.#acks.delete(channel);
    this.#acksDue.delete(channel);
  }

  // ---- Events -------------------------------------------------------------------------------

  #setState(state, detail) {
    const previous = this.#state;
    this.#state = state;
    this.#emit("state", { state, previous, ...detail });
  }

  /** A listener that throws must not stop the protocol: its error is reported as uncaught. */
  #emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

function deferred() {
  let resolve, reject;
  const promise = new Promise((kept, broken) => ([resolve, reject] = [kept, broken]));
  // Whoever doesn't wait for the answer shouldn't be told of a rejection nobody handled.
  promise.catch(() => {});
  return { promise, resolve, reject };
}

function unknownPosition(resume) {
  if (resume === "acked" || resume?.offset === 0) return { epoch: null, offset: null, resume };
  return { epoch: resume.epoch, offset: resume.offset };
}

/** What to ask for when (re)joining a channel; undefined for "from now on". */
function resumeOf(known) {
  if (!known) return undefined;
  if (known.offset === null) return known.resume;
  return known.epoch === null ? undefined : { epoch: known.epoch, offset: known.offset };
}

function isRoom(channel) {
  return !channel.startsWith("@") && !channel.startsWith("*");
}

function target(to) {
  if (typeof to !== "string") return to;
  if (to === "*") return { all: true };
  return to.startsWith("@") ? { user: to.slice(1) } : { room: to };
}

function bytesOf(text) {
  return new TextEncoder().encode(text).length;
}
