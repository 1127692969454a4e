/**
 * A server that follows the wire contract by hand, for the tests of the page and its client.
 *
 * It keeps everything in memory, and can be told to misbehave: to cut, to stay silent, to forget.
 * Run by itself (`node mock.js [port]`) it serves the page, for a look at it in a browser.
 */
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { EventEmitter } from "node:events";
import { fileURLToPath } from "node:url";

const require = createRequire(new URL("../../.tools/page/package.json", import.meta.url));
export const { WebSocketServer, WebSocket } = require("ws");

const PAGE = new URL("../../src/page/", import.meta.url);
const TYPES = { html: "text/html", css: "text/css", js: "text/javascript", ts: "text/plain", svg: "image/svg+xml" };
/** The policy that the real server sends too. */
const [, POLICY] = readFileSync(new URL("mod.rs", PAGE), "utf8").match(/CONTENT_SECURITY_POLICY: &str = "(.*?)";/s);
export const CSP = POLICY.replace(/\\\n\s*/g, "");

class Refusal extends Error {
  constructor(code, message, retry = false) {
    super(message);
    Object.assign(this, { code, retry });
  }
}

export class Mock extends EventEmitter {
  /** Every command received, oldest first. */
  commands = [];
  /** Types of command that are carried out and never answered. */
  mute = new Set();
  /** Types of command that are dropped unread. */
  deaf = new Set();
  /** Command type → `{ code, message, retry }`: refused with that. */
  refuse = new Map();
  /** Rooms that nobody may join; a login that names one is refused as a whole. */
  forbidden = new Set();
  /** Takes a login's command, throws a refusal; by default everyone is welcome. */
  admit = () => {};
  ping = 25;
  max = 65_536;
  /** Milliseconds after which the last connection's end is a `left`. */
  leftAfter = 3_000;

  #connections = new Set();
  #channels = new Map();
  #done = new Map();
  #acked = new Map();
  #nextFd = 1;
  #leaving = new Map();
  #http = null;
  #sockets = null;
  #port = 0;

  static async start(port = 0) {
    const mock = new Mock();
    mock.setMaxListeners(0);
    await mock.listen(port);
    return mock;
  }

  async listen(port = this.#port) {
    this.#http = createServer((request, response) => this.#serve(request, response));
    this.#sockets = new WebSocketServer({ server: this.#http });
    this.#sockets.on("connection", (socket) => this.#open(socket));
    await new Promise((ready) => this.#http.listen(port, "127.0.0.1", ready));
    this.#port = this.#http.address().port;
  }

  get origin() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get url() {
    return `ws://127.0.0.1:${this.#port}/ws`;
  }

  get open() {
    return this.#connections.size;
  }

  /** Stops listening; the logs stay, so that `listen` brings everything back. */
  async stop() {
    this.cut();
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    this.#leaving.clear();
    await new Promise((closed) => this.#http.close(closed));
  }

  /** Ends every connection without a Close. */
  cut() {
    for (const { socket } of this.#connections) socket.terminate();
  }

  closeAll(code, reason = "") {
    for (const { socket } of this.#connections) socket.close(code, reason);
  }

  /** Sends one frame to everybody. */
  tell(frame) {
    for (const connection of this.#connections) send(connection, frame);
  }

  /** Loses all logs: new epochs, nothing kept. */
  forget() {
    this.#channels.clear();
    this.#done.clear();
  }

  /** Keeps only the newest `count` messages of a channel. */
  trim(name, count) {
    const channel = this.#channel(name);
    channel.messages = channel.messages.slice(channel.messages.length - count);
  }

  log(name) {
    return this.#channel(name).messages;
  }

  acked(uid, channel) {
    return this.#acked.get(`${uid} ${channel}`);
  }

  /** Waits for the next command that `wanted` (a type, or a test) likes. */
  async next(wanted) {
    const likes = typeof wanted === "string" ? ({ type }) => type === wanted : wanted;
    return new Promise((resolve) => {
      const hear = (command) => {
        if (!likes(command)) return;
        this.off("command", hear);
        resolve(command);
      };
      this.on("command", hear);
    });
  }

  post(to, data, { from = null, id = `m${Math.random()}`, store = true } = {}) {
    const name = to.room ?? (to.all ? "*" : `@${to.user}`);
    const known = this.#done.get(`${name} ${from} ${id}`);
    if (known) return { ...known, duplicate: true };
    const names = [name];
    if (to.user !== undefined && from !== null && from !== to.user) names.push(`@${from}`);
    let result;
    for (const each of names) {
      const channel = this.#channel(each);
      const message = { type: "msg", channel: each, id, from, ts: Date.now(), data };
      if (to.user !== undefined) message.to = to.user;
      if (store) Object.assign(message, { epoch: channel.epoch, offset: ++channel.offset });
      if (store) channel.messages.push(message);
      const hearers = [...this.#connections].filter(({ channels }) => channels.has(each));
      for (const connection of hearers) send(connection, message);
      const { epoch, offset } = message;
      result ??= { channel: each, epoch, offset, id, receivers: hearers.length };
    }
    this.#done.set(`${name} ${from} ${id}`, result);
    return result;
  }

  #channel(name) {
    if (!this.#channels.has(name)) {
      this.#channels.set(name, { epoch: randomBytes(4).toString("hex"), offset: 0, messages: [] });
    }
    return this.#channels.get(name);
  }

  #open(socket) {
    const connection = { socket, fd: this.#nextFd++, uid: null, channels: new Set() };
    this.#connections.add(connection);
    socket.on("message", (data) => this.#receive(connection, String(data)));
    socket.on("close", () => {
      this.#connections.delete(connection);
      for (const channel of connection.channels) this.#gone(connection.uid, channel);
      this.emit("gone", connection);
    });
    send(connection, { type: "hello", fd: connection.fd, node: "mock", ping: this.ping, max: this.max });
    this.emit("open", connection);
  }

  #receive(connection, text) {
    if (text === "PING") {
      this.emit("command", { type: "PING" });
      if (!this.deaf.has("PING")) connection.socket.send("PONG");
      return;
    }
    const frame = JSON.parse(text);
    for (const command of Array.isArray(frame) ? frame : [frame]) {
      this.commands.push(command);
      if (!this.deaf.has(command.type)) this.#carryOut(connection, command);
      this.emit("command", command);
    }
  }

  #carryOut(connection, command) {
    const { seq = null, type } = command;
    const replay = [];
    try {
      if (this.refuse.has(type)) {
        const { code, message, retry } = this.refuse.get(type);
        throw new Refusal(code, message ?? "refused", retry);
      }
      const answer = this.#answer(connection, command, replay);
      if (seq !== null && !this.mute.has(type)) send(connection, { type: "ok", seq, ...answer });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { code, message, retry } = error;
      send(connection, { type: "err", seq, code, message, retry });
    }
    for (const message of replay) send(connection, message);
  }

  #answer(connection, command, replay) {
    if (connection.uid === null && command.type !== "login") throw new Refusal("forbidden", "log in first");
    switch (command.type) {
      case "login": {
        this.admit(command, connection);
        connection.uid = command.uid;
        const names = [`@${command.uid}`, "*", ...(command.rooms ?? [])];
        const channels = {};
        for (const name of names) channels[name] = this.#join(connection, name, command.resume?.[name], replay);
        return { channels };
      }
      case "join":
        if (/^[@*]/.test(command.room)) throw new Refusal("bad_request", "room: no room's name");
        return { channels: { [command.room]: this.#join(connection, command.room, command.resume, replay) } };
      case "leave":
        if (connection.channels.delete(command.room)) this.#gone(connection.uid, command.room);
        return {};
      case "say": {
        const { to, data, id, store } = command;
        if (to.room !== undefined && !connection.channels.has(to.room)) throw new Refusal("not_member", "to.room");
        return this.post(to, data, { from: connection.uid, id, store });
      }
      case "ack": {
        const key = `${connection.uid} ${command.channel}`;
        this.#acked.set(key, Math.max(this.#acked.get(key) ?? 0, command.offset));
        return {};
      }
      case "history":
        return this.#history(command);
      case "who":
        return { users: this.#members(command.room), connections: this.#connections.size };
      case "online": {
        const here = [...this.#connections].map(({ uid }) => uid);
        return { online: Object.fromEntries(command.users.map((uid) => [uid, here.includes(uid)])) };
      }
      default:
        throw new Refusal("bad_request", "type");
    }
  }

  #join(connection, name, resume, replay) {
    if (this.forbidden.has(name)) throw new Refusal("forbidden", `rooms: ${name}`);
    const channel = this.#channel(name);
    if (!/^[@*]/.test(name) && !connection.channels.has(name)) {
      const key = `${name} ${connection.uid}`;
      if (this.#leaving.has(key)) {
        clearTimeout(this.#leaving.get(key));
        this.#leaving.delete(key);
      } else if (!this.#members(name).includes(connection.uid)) {
        this.#tellRoom(name, { type: "joined", room: name, uid: connection.uid });
      }
    }
    connection.channels.add(name);
    const { epoch, offset, messages } = channel;
    const members = this.#members(name).length;
    if (resume === undefined) return { epoch, offset, members };
    const acked = this.#acked.get(`${connection.uid} ${name}`);
    const from = resume === "acked" ? (acked ?? 0) : resume.offset;
    const whole = resume === "acked" && acked === undefined;
    const kept = offset - messages.length;
    const known = whole || resume.offset === 0 || ((resume === "acked" || resume.epoch === epoch) && from <= offset && from >= kept);
    if (known) replay.push(...messages.filter((message) => message.offset > from));
    return { epoch, offset, recovered: known, members };
  }

  #history({ channel: name, after = 0, before, limit = 50 }) {
    const { epoch, offset, messages } = this.#channel(name);
    const fits = messages.filter((message) => message.offset > after && message.offset < (before ?? Infinity));
    const backwards = before !== undefined && after === 0;
    const ordered = backwards ? fits.reverse() : fits;
    const page = ordered.slice(0, Math.min(limit, 1000));
    return { channel: name, epoch, offset, messages: page, more: page.length < ordered.length };
  }

  #members(room) {
    const here = [...this.#connections].filter(({ channels }) => channels.has(room));
    return [...new Set(here.map(({ uid }) => uid))];
  }

  #gone(uid, room) {
    if (/^[@*]/.test(room) || this.#members(room).includes(uid)) return;
    const key = `${room} ${uid}`;
    const tell = () => {
      this.#leaving.delete(key);
      this.#tellRoom(room, { type: "left", room, uid });
    };
    this.#leaving.set(key, setTimeout(tell, this.leftAfter));
  }

  #tellRoom(room, frame) {
    for (const connection of this.#connections) {
      if (connection.channels.has(room)) send(connection, frame);
    }
  }

  #serve(request, response) {
    const path = request.url.split("?")[0];
    if (request.method === "POST" && path === "/v1/messages") {
      let body = "";
      request.on("data", (chunk) => (body += chunk));
      request.on("end", () => {
        const { to, data, ...more } = JSON.parse(body);
        response.setHeader("Content-Type", "application/json");
        response.end(JSON.stringify({ results: [this.post(to, data, more)] }));
      });
      return;
    }
    const name = path === "/" ? "index.html" : path.slice(1);
    let body = null;
    try {
      if (/^[a-z.]+$/.test(name)) body = readFileSync(new URL(name, PAGE));
    } catch {
      // answered below
    }
    response.statusCode = body ? 200 : 404;
    response.setHeader("Content-Type", `${TYPES[name.split(".").pop()] ?? "text/plain"}; charset=utf-8`);
    response.setHeader("Content-Security-Policy", CSP);
    response.end(body ?? "not found");
  }
}

function send({ socket }, frame) {
  if (socket.readyState === 1) socket.send(JSON.stringify(frame));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await Mock.start(Number(process.argv[2] ?? 0));
  console.log(`listening on ${mock.origin}`);
}
