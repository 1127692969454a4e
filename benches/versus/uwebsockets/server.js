// uWebSockets.js, with the work of the others here: /echo, a room, POST /publish, GET, and /room/N,
// where one is alone in a room.
// `node server.js MODULE`: the package is the official one, or its copy on npm.

const uws = require(process.argv[2]);
// One package on npm falls back to JavaScript where its binary doesn't load.
if (!String(uws.App).includes("[native code]")) throw new Error("uWebSockets.js isn't native here");
const room = "room";

const common = { compression: uws.DISABLED, idleTimeout: 120, maxPayloadLength: 1 << 20 };
const app = uws.App();

app.ws("/echo", {
  ...common,
  message: (socket, message, isBinary) => socket.send(message, isBinary),
});

let rooms = 0;
app.ws("/room/:number", {
  ...common,
  open: (socket) => socket.subscribe(`room/${rooms++}`),
});

app.ws("/room", {
  ...common,
  message(socket, message) {
    if (message.byteLength === 4 && Buffer.from(message).toString() === "join") {
      socket.subscribe(room);
    } else {
      app.publish(room, message, false);
    }
  },
});

app.post("/publish", (response) => {
  let body = Buffer.alloc(0);
  response.onAborted(() => {});
  response.onData((part, isLast) => {
    body = Buffer.concat([body, Buffer.from(part)]);
    if (!isLast) return;
    app.publish(room, body, false);
    response.writeHeader("Content-Type", "application/json").end("{}");
  });
});

app.get("/healthz", (response) => {
  response.writeHeader("Content-Type", "application/json").end('{"status":"ok"}');
});

app.listen("127.0.0.1", 0, (token) => {
  if (!token) throw new Error("can't listen");
  console.log(`listening on 127.0.0.1:${uws.us_socket_local_port(token)}`);
});
