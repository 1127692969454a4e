/**
 * The network between a client and the server, and what networks do: it cuts, loses and delays.
 *
 * All frames are the client's and the server's own, passed on as they are. Only `tell` and `close`
 * say what no server says (or not within a test's time).
 */
import { EventEmitter, once } from "node:events";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../.tools/page/package.json", import.meta.url));
export const { WebSocketServer, WebSocket } = require("ws");

/** Far longer than a command takes from a client to this. */
const COMMAND_MS_MAX = 30_000;

export class Wire extends EventEmitter {
  /** Every command that a client sent, oldest first. */
  commands = [];
  /** Types of command that get lost on their way. */
  lost = new Set();
  /** Types of command whose answers get lost. */
  unanswered = new Set();
  /** Types of frame from the server that get lost. */
  unheard = new Set();
  #server;
  #sockets;
  #pairs = new Set();
  #options;

  static async open(server, options = {}) {
    const wire = new Wire();
    wire.setMaxListeners(0);
    wire.#server = server;
    wire.#options = options;
    wire.#sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    wire.#sockets.on("connection", (client) => wire.#connect(client));
    await once(wire.#sockets, "listening");
    return wire;
  }

  get url() {
    return `ws://127.0.0.1:${this.#sockets.address().port}/ws`;
  }

  /** How many connections there are. */
  get open() {
    return this.#pairs.size;
  }

  /** Cuts all connections, without a Close for either side. */
  cut() {
    for (const { client, server } of this.#pairs) {
      client.terminate();
      server.terminate();
    }
  }

  /** Sends one frame to every client. */
  tell(frame) {
    for (const { client } of this.#pairs) client.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** Closes all connections as a server would. */
  close(code, reason = "") {
    for (const { client, server } of this.#pairs) {
      client.close(code, reason);
      server.terminate();
    }
  }

  /** Reads nothing more from the server, which then has to hold what it sends. */
  hold() {
    for (const { server } of this.#pairs) server.pause();
  }

  /** Lets what was held come. */
  release() {
    for (const { server } of this.#pairs) server.resume();
  }

  /** Waits for the next command that `wanted` (a type, or a test) likes. */
  next(wanted) {
    const likes = typeof wanted === "string" ? ({ type }) => type === wanted : wanted;
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no such command within ${COMMAND_MS_MAX} ms: ${wanted}`)), COMMAND_MS_MAX);
      late.unref();
      const hear = (command) => {
        if (!likes(command)) return;
        this.off("command", hear);
        clearTimeout(late);
        resolve(command);
      };
      this.on("command", hear);
    });
  }

  async end() {
    this.cut();
    this.#sockets.close();
    await once(this.#sockets, "close");
  }

  #connect(client) {
    const server = new WebSocket(this.#server.url, this.#options);
    const pair = { client, server, early: [], types: new Map() };
    this.#pairs.add(pair);
    const gone = () => {
      if (this.#pairs.delete(pair)) this.emit("gone");
    };
    client.on("error", () => {});
    server.on("error", () => {});
    client.on("message", (data) => this.#fromClient(pair, String(data)));
    server.on("message", (data) => this.#fromServer(pair, String(data)));
    server.on("open", () => pair.early.splice(0).forEach((text) => server.send(text)));
    client.on("close", () => {
      server.terminate();
      gone();
    });
    server.on("close", (code, reason) => {
      // 1005 and 1006 stand for a Close without a code, and for none at all.
      if (code === 1005 || code === 1006) client.terminate();
      else client.close(code, reason);
      gone();
    });
  }

  #fromClient(pair, text) {
    const command = text === "PING" ? { type: "PING" } : JSON.parse(text);
    this.commands.push(command);
    pair.types.set(command.seq, command.type);
    if (!this.lost.has(command.type)) {
      if (pair.server.readyState === 0) pair.early.push(text);
      else pair.server.send(text);
    }
    this.emit("command", command);
  }

  #fromServer(pair, text) {
    const { type, seq } = text === "PONG" ? { type: text } : JSON.parse(text);
    const isAnswer = type === "ok" || type === "err";
    const isLost = this.unheard.has(type) || (isAnswer && this.unanswered.has(pair.types.get(seq)));
    if (!isLost && pair.client.readyState === 1) pair.client.send(text);
    this.emit(isLost ? "lost" : "frame", type);
  }
}
