/**
 * A client for tidings: one connection that comes back by itself, without holes or doubles.
 *
 * It keeps a position (epoch and offset) for every channel and asks for what it missed after each
 * reconnect; what it said and has no answer for is said again under the same id, which the server
 * takes only once. It has no dependencies and runs in browsers and in Node 20 or newer (which has
 * no global WebSocket before version 22: hand in the class of the package `ws`).
 *
 * Where three WebSockets in a row fail before anything comes, messages come as a stream of events
 * (`GET /v1/events`), and what is said is posted, until a WebSocket can be had again.
 *
 * The close code decides what follows the end of a connection: errors that the next attempt would
 * meet again end the client (state `closed`), all others are followed by another attempt. A frame
 * that can't be read is an `error` event; one that names a position is stepped over.
 *
 * The server joins this file and those beside it to one, `/client.js`, since people copy it into
 * projects of their own; the file that they get is the one that is tested.
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

import { Acks } from "./acks.js";
import { Commands, deferred, makeId, quiet } from "./commands.js";
import { ABNORMAL, Backoff, GIVEN_UP, TOO_BIG, finalError, needsFreshToken } from "./ending.js";
import { TidingsError } from "./error.js";
import { Events } from "./events.js";
import { ANSWERS, check, isOffset, readFrame, unreadable } from "./frames.js";
import { Link } from "./link.js";
import { DEFAULTS, addressOf, isDuration, numbersOf, roomName, target } from "./options.js";
import { Positions, isRoom } from "./positions.js";
import { StreamSocket, canStream, isReachable } from "./stream.js";
import { Timers } from "./timers.js";

/** A `kick` is followed by a Close whose code decides; the Close is awaited for this long. */
const CLOSE_WAIT = 2_000;
/** The longest wait that a `drain` can ask for. */
const DRAIN_MAX = 600_000;
/** WebSockets that fail in a row before anything came on them, until messages come as events instead. */
const FAILURES_MAX = 3;
/** While messages come as events, a WebSocket is tried this often. */
const WEBSOCKET_RETRY = 60_000;
/** The server remembers an id for five minutes; a repeat has to arrive well before that. */
const REPEAT_MAX = 270_000;

/** One user's connection to a server; see `client.d.ts` for the types of everything here. */
class Client {
  #options;
  #timers;
  #WebSocket;
  #url;
  #uid;
  #token;
  #events = new Events();
  /** @type {"idle" | "connecting" | "online" | "waiting" | "closed"} */
  #state = "idle";
  #ready = null;
  /** @type {Link | null} The attempt or connection under way. */
  #link = null;
  #backoff;
  #retryTimer = null;
  /** WebSockets that failed in a row before anything came on them, while the server answered otherwise. */
  #failures = 0;
  /** Settled once the last failure is judged; null when it is. */
  #judging = null;
  #webSocketTimer = null;
  /** The next attempt needs another token than the last one. */
  #refreshToken = false;
  #seq = 0;
  #commands;
  #positions = new Positions();
  /** Rooms to be in after each login. */
  #rooms = new Set();
  /** Rooms left, until the server has said so: what still comes from them is dropped. */
  #leaving = new Set();
  #acks = new Acks();
  #ackTimer = null;
  #wakeups = null;

  /** @param {import("./client.d.ts").ClientOptions} options */
  constructor(options) {
    const { uid, token, getToken, rooms = [], resume = {} } = options ?? {};
    if (uid === undefined ? !token && !getToken : typeof uid !== "string" || uid === "") {
      throw new TypeError("uid must be a string that isn't empty; only with token or getToken it may be left out");
    }
    if (token !== undefined && token !== null && typeof token !== "string") throw new TypeError("token must be a string");
    if (getToken !== undefined && typeof getToken !== "function") throw new TypeError("getToken must be a function");
    this.#options = { ...options, ...numbersOf(options) };
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (typeof this.#WebSocket !== "function") {
      throw new TypeError("no WebSocket here: pass { WebSocket } from the package ws (Node 22 has its own)");
    }
    this.#url = addressOf(options.url);
    this.#uid = uid;
    this.#token = token ?? undefined;
    this.#backoff = new Backoff(this.#options, options.random ?? Math.random);
    this.#timers = new Timers(
      options.clock ?? {
        now: () => Date.now(),
        setTimeout: (run, ms) => setTimeout(run, ms),
        clearTimeout: (timer) => clearTimeout(timer),
      },
    );
    this.#commands = new Commands(this.#timers);
    for (const room of rooms) this.#rooms.add(roomName(room));
    for (const [channel, from] of Object.entries(resume)) this.#positions.begin(channel, from);
  }

  /** Who this client is; null until the first login when only the token says so. */
  get uid() {
    return this.#uid ?? null;
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
    return this.#commands.size;
  }

  /**
   * The last position seen in a channel, or null; store it to resume there after a reload.
   *
   * @param {string} channel
   */
  position(channel) {
    return this.#positions.get(channel);
  }

  /**
   * Calls `listener` for every event of that name; the function returned ends that.
   *
   * A listener that throws stops neither the others nor the client: its error is reported as the
   * browser reports uncaught ones, or on the console.
   *
   * @param {string} name
   * @param {(detail: any) => void} listener
   */
  on(name, listener) {
    return this.#events.add(name, listener);
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
      const ready = deferred();
      this.#ready = ready;
      this.#backoff.attempt = 0;
      this.#listenForWakeups();
      this.#open();
      return ready.promise;
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
      this.#timers.stop(this.#retryTimer);
      this.#open();
    } else if (this.#state === "online") {
      this.#link.probe();
    }
  }

  /**
   * Hands the server a fresh token on the present connection, and keeps it for the next ones.
   *
   * @param {string} [token] without one, `getToken` is asked
   */
  renew(token) {
    return quiet(this.#renew(token));
  }

  async #renew(token) {
    const fresh = token ?? (await this.#askForToken(true));
    if (typeof fresh !== "string") throw new TypeError("there is no token to renew with");
    this.#token = fresh;
    if (this.#state !== "online") return;
    await this.#request({ type: "login", uid: this.#uid, token: fresh });
  }

  /**
   * Joins a room, now and after every reconnect.
   *
   * @param {string} room
   * @param {{ resume?: "acked" | { epoch: string, offset: number }, timeout?: number }} [options]
   */
  join(room, options = {}) {
    return quiet(this.#join(room, options));
  }

  async #join(room, { resume, timeout }) {
    if (resume !== undefined && !this.#positions.has(roomName(room))) this.#positions.begin(room, resume);
    const wasIn = this.#rooms.has(roomName(room));
    this.#leaving.delete(room);
    this.#rooms.add(room);
    try {
      const command = { type: "join", room, resume: this.#positions.resume(room) };
      const answer = await this.#request(command, timeout);
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
  leave(room, options = {}) {
    return quiet(this.#leave(room, options));
  }

  async #leave(room, { timeout }) {
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
   * with the same `id`, within the five minutes for which the server remembers ids. With the
   * timeout `Infinity` it waits for as long as there is no connection; what may have arrived on a
   * connection longer ago than the server remembers is not said again but ends as a `timeout`.
   *
   * @param {string | object} to `"lobby"`, `"@bob"`, `"*"`, or the protocol's own `to`
   * @param {any} data
   * @param {{ id?: string, store?: boolean, from?: string, timeout?: number }} [options]
   */
  say(to, data, { id = makeId(), store, from, timeout } = {}) {
    // What JSON.stringify leaves out would be a message without data.
    const isLeftOut = data === undefined || typeof data === "function" || typeof data === "symbol";
    if (isLeftOut) return quiet(Promise.reject(new TidingsError("bad_request", "data is no JSON")));
    return this.#request({ type: "say", to: target(to), data, id, store, from }, timeout);
  }

  /**
   * A page of a channel's kept messages: oldest first, or newest first with `before` alone.
   *
   * @param {string} channel
   * @param {{ after?: number, before?: number, limit?: number, timeout?: number }} [options]
   */
  history(channel, options = {}) {
    return quiet(this.#history(channel, options));
  }

  async #history(channel, { after, before, limit, timeout }) {
    const answer = await this.#request({ type: "history", channel, after, before, limit }, timeout);
    const messages = answer.messages.filter((message) => this.#isReadable(message));
    return { ...answer, messages };
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
  online(users, { timeout } = {}) {
    return quiet(this.#request({ type: "online", users }, timeout).then(({ online }) => online));
  }

  /**
   * Tells the server that this user has everything up to `offset`; sent soon, and not answered.
   *
   * @param {string} channel
   * @param {number} offset
   */
  ack(channel, offset) {
    if (typeof channel !== "string" || !isOffset(offset)) throw new TypeError("an ack names a channel and an offset");
    if (!this.#acks.note(channel, offset)) return;
    this.#ackTimer ??= this.#timers.after(this.#options.ackDelay, () => this.#flushAcks());
  }

  // ---- The life of a connection -------------------------------------------------------------

  async #open() {
    const link = new Link(this.#timers, this.#options.probeTimeout, (reason) => this.#lost(link, GIVEN_UP, reason));
    this.#link = link;
    this.#retryTimer = null;
    link.giveUpAfter(this.#options.connectTimeout, "no login in time");
    this.#setState("connecting", { attempt: this.#backoff.attempt });
    if (this.#link !== link) return;
    if (this.#options.getToken && !(await this.#takeToken(link))) return;
    if (this.#judging) await this.#judging;
    if (this.#link !== link) return;
    try {
      link.isStream = this.#failures >= FAILURES_MAX && canStream(this.#options);
      link.socket = link.isStream ? new StreamSocket(this.#url, this.#options) : new this.#WebSocket(this.#url);
    } catch (error) {
      // A WebSocket throws for what it will never do (a forbidden port, an unsafe address).
      this.#finish(new TidingsError("unusable", `no connection can be tried: ${error?.message}`, { cause: error }));
      return;
    }
    // The handlers stay after the link is given up, so that a late error has somewhere to go.
    link.socket.onmessage = (event) => this.#link === link && this.#receive(link, event?.data);
    link.socket.onclose = (event) => {
      const code = Number.isInteger(event?.code) ? event.code : ABNORMAL;
      this.#lost(link, code, String(event?.reason || link.failure));
    };
    link.socket.onerror = (event) => (link.failure = String(event?.message ?? ""));
  }

  /**
   * Counts the WebSockets that nothing came on while the server could be reached by HTTP: one that is away
   * for a while, or a network that is down, says nothing about WebSockets. A stream that fails as well gives
   * a WebSocket its turn again.
   */
  #countFailure(link, code) {
    if (link.hello && !link.isStream) this.#failures = 0;
    else if (link.isStream && link.onlineSince === null) this.#failures = FAILURES_MAX - 1;
    else if (!link.isStream && link.socket && (code === ABNORMAL || code === GIVEN_UP)) this.#judgeFailure();
  }

  /** Asks whether the server is there at all; the next attempt waits for that. */
  #judgeFailure() {
    if (!canStream(this.#options)) return;
    let limit = null;
    const late = new Promise((resolve) => {
      limit = this.#timers.after(this.#options.connectTimeout, () => resolve(false));
    });
    this.#judging = Promise.race([isReachable(this.#url, this.#options), late]).then((isThere) => {
      this.#timers.stop(limit);
      this.#judging = null;
      this.#failures = isThere ? this.#failures + 1 : 0;
    });
  }

  /** Comes back at once, with what is to be asked for now. */
  #reopen(link, reason) {
    link.drainUntil = this.#timers.now();
    this.#lost(link, GIVEN_UP, reason);
  }

  /** While messages come as events: sees from time to time whether a WebSocket can be had by now. */
  #lookForWebSocket(link) {
    this.#webSocketTimer = this.#timers.after(WEBSOCKET_RETRY, () => {
      if (this.#link !== link) return;
      const socket = new this.#WebSocket(this.#url);
      let isOver = false;
      const end = (isThere) => {
        if (isOver) return;
        isOver = true;
        this.#timers.stop(limit);
        if (!(socket.readyState > 1)) socket.close(1000);
        if (this.#link !== link) return;
        if (!isThere) return this.#lookForWebSocket(link);
        this.#failures = 0;
        this.#reopen(link, "a WebSocket can be had again");
      };
      const limit = this.#timers.after(this.#options.connectTimeout, () => end(false));
      socket.onmessage = () => end(true);
      socket.onclose = () => end(false);
      socket.onerror = () => {};
    });
  }

  /** Asks the application for a token; false when the attempt is over by then. */
  async #takeToken(link) {
    try {
      const token = await this.#askForToken(this.#refreshToken);
      // An answer that comes too late must not replace a newer one.
      if (this.#link !== link) return false;
      if (typeof token !== "string" || token === "") throw new TypeError("getToken gave no token");
      this.#token = token;
      return true;
    } catch (error) {
      if (this.#link !== link) return false;
      if (error?.retry === false) {
        this.#finish(new TidingsError("unauthorized", `no token: ${error.message}`, { cause: error }));
        return false;
      }
      this.#emit("error", error);
      this.#lost(link, GIVEN_UP, "there is no token");
      return false;
    }
  }

  async #askForToken(refresh) {
    return await this.#options.getToken?.({ refresh });
  }

  /** A link is over, for whatever reason: decide whether and when there is a next one. */
  #lost(link, code, reason) {
    if (this.#link !== link) return;
    this.#countFailure(link, code);
    this.#drop(link);
    const final = finalError({ code, reason }, link, this.#options.getToken !== undefined);
    if (final) {
      this.#finish(final);
      return;
    }
    this.#refreshToken ||= needsFreshToken(code);
    this.#acks.sendAgain(link.acked);
    const now = this.#timers.now();
    const onlineFor = link.onlineSince === null ? null : now - link.onlineSince;
    const wait = this.#backoff.next(code, { refused: link.refused, onlineFor });
    const delay = link.drainUntil === null ? wait : Math.max(0, link.drainUntil - now);
    this.#retryTimer = this.#timers.after(delay, () => this.#open());
    const words = link.kick?.message || reason;
    this.#setState("waiting", { delay, code, reason: words, attempt: this.#backoff.attempt });
  }

  #finish(error) {
    const { closeCode } = error;
    const previous = this.#state;
    if (this.#link) this.#drop(this.#link);
    this.#timers.stop(this.#retryTimer);
    this.#timers.stop(this.#ackTimer);
    this.#retryTimer = this.#ackTimer = null;
    this.#wakeups?.();
    // All promises first: a listener may connect again, and that promise isn't this one's.
    this.#state = "closed";
    this.#ready?.reject(error);
    const commands = this.#commands.all();
    if (closeCode === TOO_BIG) this.#refuseLargest(commands);
    for (const command of commands) {
      const message = `not answered: ${error.message}`;
      this.#commands.settle(command, new TidingsError("closed", message, { closeCode, cause: error }));
    }
    this.#emit("state", { state: "closed", previous, code: closeCode, reason: error.message, error });
  }

  /** The server closed on a frame that was too big; most likely it was the largest one. */
  #refuseLargest(commands) {
    const [largest] = commands.filter(({ sentAt }) => sentAt !== null).sort((a, b) => b.frame.length - a.frame.length);
    if (largest) this.#commands.settle(largest, new TidingsError("too_large", "the server closed on it"));
  }

  /** Lets go of a link: no event of it counts any more, even when its socket takes long to die. */
  #drop(link) {
    this.#link = null;
    this.#timers.stop(this.#webSocketTimer);
    link.drop();
  }

  #listenForWakeups() {
    this.#wakeups?.();
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

  // ---- What the server says -----------------------------------------------------------------

  /** Takes a frame; whatever is wrong with it, nothing is thrown, and the next frame is taken. */
  #receive(link, text) {
    link.heard();
    if (text === "PONG") return;
    try {
      const { type, detail } = readFrame(text);
      this.#take(link, type, detail);
    } catch (error) {
      if (error.position) this.#stepOver(error.position);
      this.#emit("error", error);
      if (this.#link !== link) return;
      if (Number.isInteger(error.seq)) this.#answerLost(link, error);
      if (error.type === "hello" && !link.hello) this.#take(link, "hello", {});
    }
  }

  #take(link, type, detail) {
    switch (type) {
      case "hello":
        this.#hello(link, detail);
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
        this.#gap(detail);
        break;
      case "drain":
        link.drain(Math.min(Math.max(0, detail.after_ms), DRAIN_MAX));
        this.#emit("drain", detail);
        break;
      case "kick":
        link.kick = { code: detail.code || "kicked", message: detail.message ?? "" };
        this.#emit("kick", link.kick);
        break;
      default: // joined, left, presence: for the application
        this.#emit(type, detail);
    }
  }

  /** A stream is greeted twice: here, so that it has a login to open with, and by the server. */
  #hello(link, detail) {
    const isSecond = link.hello !== null;
    if (isSecond && !link.isStream) throw unreadable("a second hello");
    link.hello = detail;
    if (!isSecond) this.#login(link);
  }

  /** An answer came and can't be read: who waits for it mustn't wait for ever. */
  #answerLost(link, error) {
    const command = this.#commands.get(error.seq);
    if (command) this.#commands.settle(command, error);
    else if (error.seq === link.loginSeq) this.#lost(link, GIVEN_UP, error.message);
  }

  #stepOver({ channel, epoch, offset }) {
    if (!this.#leaving.has(channel)) this.#advance(channel, epoch, offset);
  }

  #isReadable(message) {
    try {
      check("msg", message);
      return true;
    } catch (error) {
      this.#emit("error", error);
      return false;
    }
  }

  #login(link) {
    link.loginSeq = ++this.#seq;
    // No prototype: a room may be called `__proto__`.
    const resume = Object.create(null);
    for (const [channel, from] of this.#positions.resumes()) {
      if (!(link.isBare && this.#rooms.has(channel))) resume[channel] = from;
    }
    const rooms = link.isBare ? [] : this.rooms;
    link.asked = new Set(rooms);
    const login = { type: "login", seq: link.loginSeq, uid: this.#uid, token: this.#token, rooms, resume };
    const frame = JSON.stringify(login);
    if (!link.isBare && rooms.length > 0 && link.isTooBig(frame)) {
      link.isBare = true;
      this.#login(link);
      return;
    }
    link.send(frame);
  }

  #loggedIn(link, answer) {
    link.loggedIn();
    if (link.isStream) this.#lookForWebSocket(link);
    this.#refreshToken = false;
    const channels = answer.channels ?? {};
    const names = Object.keys(channels);
    this.#uid ??= names.find((name) => name.startsWith("@"))?.slice(1);
    const unwanted = [];
    for (const channel of names) {
      this.#subscribed(channel, channels[channel]);
      if (!isRoom(channel) || this.#rooms.has(channel)) continue;
      if (link.asked.has(channel)) unwanted.push(channel);
      else this.#rooms.add(channel); // a lasting membership
    }
    this.#settleRooms(link, channels);
    if (this.#link !== link) return; // a listener may have closed the client
    for (const room of unwanted) this.#leaveUnheard(room);
    // What waited goes out before anyone hears of the login and says something new.
    for (const command of this.#commands.all()) this.#send(command);
    if (this.#link !== link) return;
    this.#ready.resolve(answer);
    this.#setState("online", {});
    if (this.#link !== link) return;
    this.#emit("login", { fd: this.fd, node: link.hello.node, channels });
    this.#flushAcks();
  }

  /** A room was left while the login that names it was on its way. */
  #leaveUnheard(room) {
    this.#forget(room);
    this.#leaving.add(room);
    const command = this.#commands.add({ type: "leave", room, seq: ++this.#seq }, this.#options.timeout);
    command.promise.catch(() => {}).then(() => this.#leaving.delete(room));
  }

  /** A login is the answer to every join and leave that waited for one. */
  #settleRooms(link, channels) {
    const waiting = this.#commands.all();
    for (const command of waiting) {
      const isOver = command.type === "leave" || command.type === "login";
      if (isOver) this.#commands.settle(command, null, {});
      if (command.type === "join" && Object.hasOwn(channels, command.room)) {
        this.#commands.settle(command, null, { channels });
      } else if (command.type === "join" && link.isStream) {
        this.#commands.settle(command, new TidingsError("forbidden", "the login left this room out"));
      }
    }
    for (const room of this.rooms) {
      if (Object.hasOwn(channels, room)) continue;
      if (waiting.some(({ type, room: name }) => type === "join" && name === room)) continue;
      if (link.isBare) this.#joinSingly(room);
      else this.#roomLost(room, new TidingsError("forbidden", "the login left this room out"));
    }
  }

  #joinSingly(room) {
    const command = { type: "join", room, resume: this.#positions.resume(room), seq: ++this.#seq };
    const { promise } = this.#commands.add(command, this.#options.timeout);
    promise.catch((error) => this.#state !== "closed" && this.#roomLost(room, error));
  }

  #roomLost(room, { code, message, retry }) {
    this.#forget(room);
    this.#emit("error", new TidingsError(code, message, { retry, room }));
  }

  /** Takes over the position that a login or a join reported, and says so when there is a hole. */
  #subscribed(channel, info) {
    const hole = this.#positions.subscribed(channel, info);
    if (!hole) return;
    this.#acks.forget(channel);
    this.#emit(hole.previous?.epoch === hole.epoch ? "gap" : "restarted", hole);
  }

  /** The server says from where on a channel is kept: after a purge that is another epoch. */
  #gap({ channel, epoch, offset }) {
    if (this.#leaving.has(channel)) return;
    const previous = this.position(channel);
    this.#positions.set(channel, { epoch, offset });
    this.#told({ channel, epoch, offset, recovered: false, previous });
  }

  /** Tells the application of a hole; where the offsets began anew, old acks mean nothing. */
  #told(hole) {
    const isAnew = hole.previous !== null && hole.previous.epoch !== hole.epoch;
    if (isAnew) this.#acks.forget(hole.channel);
    this.#emit(isAnew ? "restarted" : "gap", hole);
  }

  #message(message) {
    const { channel, epoch, offset } = message;
    if (this.#leaving.has(channel)) return;
    if (offset !== undefined && !this.#advance(channel, epoch, offset)) return;
    this.#emit("message", { ...message, from: message.from ?? null });
  }

  /** Moves a channel's position on; false for what was seen before. */
  #advance(channel, epoch, offset) {
    // A room that speaks without having been joined is a lasting membership, just given.
    if (!this.#positions.has(channel) && isRoom(channel)) this.#rooms.add(channel);
    const { isNew, hole } = this.#positions.advance(channel, epoch, offset);
    if (hole) this.#told(hole);
    return isNew;
  }

  #answered({ seq, ...answer }) {
    const command = this.#commands.get(seq);
    if (!command) return; // its time was over, or it is the answer to the login of a query
    const wrong = ANSWERS[command.type]?.(answer);
    if (wrong) throw unreadable(`an answer to ${command.type} whose ${wrong} can't be read`, { seq });
    if (command.type === "join") {
      for (const [channel, info] of Object.entries(answer.channels ?? {})) {
        if (this.#rooms.has(channel)) this.#subscribed(channel, info);
      }
    }
    this.#commands.settle(command, null, answer);
  }

  #refused(link, { seq = null, code = "internal", message = "", retry = false }) {
    const error = new TidingsError(code, message, { retry });
    const command = this.#commands.get(seq);
    if (command) {
      this.#commands.settle(command, error);
    } else if (seq !== null && seq === link.loginSeq) {
      this.#loginRefused(link, error);
    } else {
      this.#emit("error", error);
    }
  }

  #loginRefused(link, error) {
    const aboutRooms = ["forbidden", "not_found", "bad_request"].includes(error.code);
    // A stream can't join them singly.
    if (aboutRooms && !link.isBare && !link.isStream && this.#rooms.size > 0) {
      // One room that can't be joined must not lock the user out of the others.
      link.isBare = true;
      this.#login(link);
      return;
    }
    link.refused = error;
    if (!link.kick) {
      this.#lost(link, GIVEN_UP, error.message);
      return;
    }
    link.giveUpAfter(CLOSE_WAIT, error.message);
  }

  // ---- What the client says -----------------------------------------------------------------

  /** Gives the promise of a command's answer. */
  #request(command, timeout = this.#options.timeout) {
    return quiet(this.#add(command, timeout));
  }

  async #add(command, timeout) {
    if (this.#state === "closed") throw new TidingsError("closed", "the client is closed");
    if (!isDuration(timeout)) throw new TypeError("timeout must be a number of milliseconds");
    if (this.#commands.size >= this.#options.pendingMax) {
      const message = `${this.#commands.size} commands wait for an answer already`;
      throw new TidingsError("queue_full", message, { retry: true });
    }
    const waiting = this.#commands.add({ ...command, seq: ++this.#seq }, timeout);
    // A server that drains may not answer any more; the next connection takes what is new.
    if (this.#state === "online" && this.#link.drainUntil === null) this.#send(waiting);
    return waiting.promise;
  }

  #flushAcks() {
    this.#timers.stop(this.#ackTimer);
    this.#ackTimer = null;
    const link = this.#link;
    if (this.#state !== "online") return; // the next login sends them
    for (const ack of this.#acks.take()) {
      link.acked.add(ack.channel);
      link.send(JSON.stringify(ack));
    }
  }

  /** Sends a command that waits, unless the server can't take it (any more). */
  #send(command) {
    const link = this.#link;
    if (!link) return; // the command waits for the next one
    const now = this.#timers.now();
    if (link.isStream && ["join", "leave", "login"].includes(command.type)) {
      this.#reopen(link, "a stream has the rooms that it was opened with");
    } else if (link.isTooBig(command.frame)) {
      const message = `the message is larger than the ${link.hello.max} bytes that the server takes`;
      this.#commands.settle(command, new TidingsError("too_large", message));
    } else if (command.type === "say" && command.sentAt !== null && now - command.sentAt > REPEAT_MAX) {
      const message = "it isn't known whether this arrived, and the server doesn't know its id any more";
      this.#commands.settle(command, new TidingsError("timeout", message, { retry: true }));
    } else {
      command.sentAt ??= now;
      link.send(command.frame);
    }
  }

  #forget(room) {
    this.#rooms.delete(room);
    this.#positions.forget(room);
    this.#acks.forget(room);
  }

  // ---- Events -------------------------------------------------------------------------------

  #setState(state, detail) {
    const previous = this.#state;
    this.#state = state;
    this.#emit("state", { state, previous, ...detail });
  }

  #emit(name, detail) {
    this.#events.emit(name, detail);
  }
}

export { Client, DEFAULTS, TidingsError, makeId };
