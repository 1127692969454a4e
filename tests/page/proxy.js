/** A proxy in front of the server that passes HTTP on, and refuses WebSockets for as long as it is told. */
import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";

export class Proxy {
  #server;
  #http;
  #sockets = new Set();
  refusesWebSockets = true;
  /** Whether it answers nobody. */
  isAway = false;
  /** WebSockets that were asked for. */
  asked = 0;
  /** Streams of events that were asked for, by their query. */
  streams = [];

  static async open(server) {
    const proxy = new Proxy();
    proxy.#server = server;
    proxy.#http = createServer((asked, answer) => proxy.#pass(asked, answer));
    proxy.#http.on("connection", (socket) => {
      proxy.#sockets.add(socket);
      socket.once("close", () => proxy.#sockets.delete(socket));
    });
    proxy.#http.on("upgrade", (asked, socket, head) => proxy.#upgrade(asked, socket, head));
    proxy.#http.listen(0, "127.0.0.1");
    await once(proxy.#http, "listening");
    return proxy;
  }

  get origin() {
    return `http://127.0.0.1:${this.#http.address().port}`;
  }

  get url() {
    return `${this.origin.replace("http", "ws")}/ws`;
  }

  /** Cuts all connections. */
  cut() {
    for (const socket of this.#sockets) socket.destroy();
  }

  async end() {
    this.#http.close();
    this.cut();
    await once(this.#http, "close");
  }

  #pass(asked, answer) {
    if (this.isAway) return void asked.socket.destroy();
    const url = new URL(asked.url, this.origin);
    if (url.pathname === "/v1/events") this.streams.push(url.searchParams);
    const { port } = this.#server;
    const passed = request({ port, host: "127.0.0.1", method: asked.method, path: asked.url, headers: asked.headers }, (got) => {
      answer.writeHead(got.statusCode, got.headers);
      got.pipe(answer);
    });
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  }

  #upgrade(asked, socket, head) {
    this.asked += 1;
    socket.on("error", () => {});
    if (this.isAway) return void socket.destroy();
    if (this.refusesWebSockets) {
      socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      return;
    }
    const passed = connect(this.#server.port, "127.0.0.1", () => {
      const { rawHeaders } = asked;
      const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}\r\n`] : []));
      passed.write(`GET ${asked.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
      passed.write(head);
      passed.pipe(socket).pipe(passed);
    });
    passed.on("error", () => socket.destroy());
    socket.on("close", () => passed.destroy());
  }
}
