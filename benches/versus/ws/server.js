// `ws` on Node's own http server, with the work of the others here: /echo, a room, POST /publish, GET,
// and /room/N, where one is alone in a room.
// `node server.js MODULE`, the path of the package.

const http = require("node:http");
const { WebSocketServer } = require(process.argv[2]);

const members = new Set();
const rooms = new Map();
const json = { "Content-Type": "application/json" };

function publish(message) {
  for (const member of members) member.send(message, { binary: false });
}

const server = http.createServer((request, response) => {
  if (request.url === "/publish") {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (part) => (body += part));
    request.on("end", () => {
      publish(body);
      response.writeHead(200, json).end("{}");
    });
  } else {
    const found = request.url === "/healthz";
    response.writeHead(found ? 200 : 404, json).end(found ? '{"status":"ok"}' : "");
  }
});

const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on("connection", (socket, request) => {
  socket.on("error", () => {}); // a reset is how the load generator leaves
  socket.on("close", () => members.delete(socket));
  if (request.url === "/echo") {
    socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
    return;
  }
  if (request.url.startsWith("/room/")) {
    rooms.set(request.url, new Set([socket]));
    socket.on("close", () => rooms.delete(request.url));
    return;
  }
  socket.on("message", (message) => {
    if (message.length === 4 && message.toString() === "join") members.add(socket);
    else publish(message);
  });
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
