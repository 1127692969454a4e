// Bun's own WebSocket server, with the work of the others here: /echo, a room, POST /publish, GET, and
// /room/N, where one is alone in a room.

const room = "room";
const json = { headers: { "Content-Type": "application/json" } };

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request, server) {
    const path = new URL(request.url).pathname;
    if (path === "/echo" || path.startsWith("/room")) {
      if (server.upgrade(request, { data: path })) return;
    } else if (path === "/publish") {
      server.publish(room, await request.text());
      return new Response("{}", json);
    } else if (path === "/healthz") {
      return new Response('{"status":"ok"}', json);
    }
    return new Response("", { status: 404 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      if (socket.data.startsWith("/room/")) socket.subscribe(socket.data);
    },
    message(socket, message) {
      if (socket.data === "/echo") socket.send(message);
      else if (message === "join") socket.subscribe(room);
      else server.publish(room, message);
    },
  },
});

console.log(`listening on 127.0.0.1:${server.port}`);
