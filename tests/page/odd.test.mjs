/**
 * The client against a peer that sends what no tidings server does: a broken proxy, another
 * protocol, a version from the future. Where it has to behave, it follows the wire contract.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "./clock.js";
import { event, named } from "./world.js";
import { Client, DEFAULTS } from "../../src/page/client/client.js";

/** A socket whose other end is this test; it says hello and answers logins by itself. */
class Peer {
  static last = null;
  static hello = { type: "hello", fd: 1, node: "peer", ping: 25, max: 65_536 };
  readyState = 1;
  sent = [];

  constructor() {
    Peer.last = this;
    queueMicrotask(() => Peer.hello && this.say(Peer.hello));
  }

  say(frame) {
    this.onmessage?.({ data: typeof frame === "object" && !(frame instanceof Uint8Array) ? JSON.stringify(frame) : frame });
  }

  send(text) {
    const command = text === "PING" ? { type: text } : JSON.parse(text);
    this.sent.push(command);
    const channels = Object.fromEntries((command.rooms ?? []).map((room) => [room, { epoch: "a", offset: 0 }]));
    if (command.type === "login") queueMicrotask(() => this.say({ type: "ok", seq: command.seq, channels }));
  }

  close() {
    this.readyState = 3;
  }

  get seq() {
    return this.sent.at(-1).seq;
  }
}

async function connected(t, options = {}) {
  const client = new Client({ uid: "ann", rooms: ["r"], WebSocket: Peer, url: "ws://peer/ws", clock: new Clock(), ...options });
  t.after(() => client.close());
  client.heard = [];
  for (const name of ["message", "gap", "joined", "presence", "error", "state"]) client.on(name, (detail) => client.heard.push({ ...detail, name, detail }));
  await client.connect();
  return client;
}

const message = (more) => ({ type: "msg", channel: "r", epoch: "a", offset: 1, id: "x", from: null, ts: 1, data: "here", ...more });
const without = (name) => Object.fromEntries(Object.entries(message()).filter(([key]) => key !== name));

const ODD = [
  "", "{", "null", "5", "true", "[]", '"x"', "{}", '{"type":null}', '{"type":5}', '{"type":["msg"]}', "pong", "\u0000",
  '[{"type":"msg","channel":"r","epoch":"a","offset":1,"data":1}]',
  { type: "__proto__" }, { type: "constructor" }, { type: "toString" }, { type: "weather" }, { type: "" }, { type: "MSG" },
  { type: "hello" }, { type: "hello", fd: "x" }, Peer.hello,
  { type: "ok" }, { type: "ok", seq: "1" }, { type: "ok", seq: {} }, { type: "ok", seq: 999, channels: [] }, { type: "ok", seq: 999, channels: { r: null } },
  { type: "err", code: 5 }, { type: "err", seq: [] }, { type: "err", seq: null, message: {} }, { type: "err", retry: "yes" },
  { type: "msg" }, without("channel"), without("epoch"), without("data"), message({ channel: 5 }), message({ channel: "" }), message({ channel: null }),
  message({ epoch: 5 }), message({ offset: "1" }), message({ offset: 1e300 }), message({ offset: 0 }), message({ offset: -1 }), message({ offset: 1.5 }), message({ offset: null }),
  { type: "gap" }, { type: "gap", channel: "r" }, { type: "gap", channel: "r", epoch: "a", offset: "9" }, { type: "gap", channel: [], epoch: "a", offset: 9 },
  { type: "drain" }, { type: "drain", after_ms: "x" }, { type: "drain", after_ms: null }, { type: "kick", code: 4004 }, { type: "kick", message: [] },
  { type: "joined" }, { type: "joined", room: 5, uid: "bob" }, { type: "left", room: "r" }, { type: "left", room: "r", uid: null },
  { type: "presence" }, { type: "presence", room: "r", state: "half" }, { type: "presence", room: "r", state: "on", users: "bob" },
  new Uint8Array([1, 2, 3]), undefined, null, 5,
];

for (const odd of ODD) {
  const shown = typeof odd === "string" ? JSON.stringify(odd) : odd instanceof Uint8Array ? "bytes" : (JSON.stringify(odd) ?? "undefined");
  test(`an odd frame is an error event, and the next one is heard: ${shown}`, async (t) => {
    const client = await connected(t);
    assert.doesNotThrow(() => Peer.last.say(odd));
    const errors = named(client, "error");
    assert.deepEqual([errors.length, errors[0]?.detail.code], [1, "unreadable"]);
    Peer.last.say(message({ offset: 2 }));
    assert.deepEqual(named(client, "message").map(({ data }) => data), ["here"]);
    assert.equal(client.state, "online");
  });
}

test("what is allowed though rare is no error", async (t) => {
  const client = await connected(t);
  const { type, channel, data } = message();
  const rare = ["PONG", { type: "ok", seq: null, channels: {} }, { type: "ok", seq: 999 }, { type, channel, data, ts: 1 }, { ...message(), data: null, news: true }];
  for (const frame of [...rare, { type: "presence", room: "r", state: "off" }, message({ channel: "__proto__" })]) Peer.last.say(frame);
  assert.deepEqual(named(client, "error"), []);
  assert.deepEqual(named(client, "message").map(({ data, from }) => [data, from]), [["here", null], [null, null], ["here", null]]);
  assert.deepEqual([client.position("r"), client.position("__proto__")], [{ epoch: "a", offset: 1 }, { epoch: "a", offset: 1 }]);
});

test("a message that can't be read is stepped over with its offset, once", async (t) => {
  const client = await connected(t);
  const broken = [
    '{"type":"msg","channel":"r","epoch":"a","offset":1,"id":"x","from":null,"ts":1,"data":nan}',
    '{"type":"msg","channel":"r","epoch":"a","offset":2,"id":"x","from":"\u0001","ts":1,"data":1}',
    JSON.stringify(message({ offset: 3, from: 5 })),
  ];
  for (const text of broken) Peer.last.say(text);
  const positions = named(client, "error").map(({ detail }) => detail.position);
  assert.deepEqual(positions, [1, 2, 3].map((offset) => ({ channel: "r", epoch: "a", offset })));
  Peer.last.say(message({ offset: 4 }));
  assert.deepEqual([named(client, "gap"), named(client, "message").length], [[], 1], "what was stepped over is no hole");
  Peer.last.onclose({ code: 1006, reason: "" });
  client.wake();
  await event(client, "login");
  assert.deepEqual(Peer.last.sent[0].resume.r, { epoch: "a", offset: 4 });
});

test("an answer that can't be read rejects the command that waits for it", async (t) => {
  const client = await connected(t);
  const asks = {
    who: [() => client.who("r"), [{}, { users: "ann" }, { users: [5] }]],
    online: [() => client.online(["ann"]), [{}, { online: [] }, { online: null }]],
    history: [() => client.history("r"), [{}, { messages: {} }, { messages: [], offset: "x" }]],
    join: [() => client.join("s"), [{ channels: 5 }, { channels: { s: { offset: "x" } } }]],
  };
  for (const [name, [ask, answers]] of Object.entries(asks)) {
    for (const answer of answers) {
      const asked = ask();
      Peer.last.say({ type: "ok", seq: Peer.last.seq, ...answer });
      await assert.rejects(asked, { code: "unreadable" }, name);
    }
    const refused = ask();
    Peer.last.say({ type: "err", seq: Peer.last.seq, code: 5 });
    await assert.rejects(refused, { code: "unreadable" }, name);
  }
  assert.equal(client.pending, 0);
});

test("a page of history comes without the messages that can't be read, and says which", async (t) => {
  const client = await connected(t);
  const asked = client.history("r");
  const messages = [message({ offset: 1 }), null, message({ offset: 2, ts: "x" }), 5, message({ offset: 3 })];
  Peer.last.say({ type: "ok", seq: Peer.last.seq, channel: "r", epoch: "a", offset: 3, messages, more: false });
  assert.deepEqual((await asked).messages.map(({ offset }) => offset), [1, 3]);
  const errors = named(client, "error").map(({ detail }) => detail.position?.offset);
  assert.deepEqual(errors, [undefined, 2, undefined]);
});

test("a hello of wrong types is said, and the login goes on without it", async (t) => {
  const { hello } = Peer;
  t.after(() => (Peer.hello = hello));
  Peer.hello = { type: "hello", fd: "x", ping: "y", max: {} };
  const client = await connected(t);
  assert.deepEqual([client.state, client.fd, named(client, "error").length], ["online", null, 1]);
});

test("a login whose answer can't be read is tried again, after a pause", async (t) => {
  const clock = new Clock();
  const client = new Client({ uid: "ann", WebSocket: Peer, url: "ws://peer/ws", clock, random: () => 0.5 });
  t.after(() => client.close());
  client.on("error", () => {});
  const waiting = event(client, "state", ({ state }) => state === "waiting");
  client.connect();
  await Promise.resolve();
  Peer.last.say({ type: "ok", seq: Peer.last.seq, channels: "all" });
  assert.equal((await waiting).delay, 250);
  const login = event(client, "login");
  clock.advance(250);
  await login;
});

test("a socket that closes, fails or throws oddly is a lost connection", async (t) => {
  for (const event of [undefined, null, {}, { code: "x" }, { code: 1006, reason: null }]) {
    const client = await connected(t);
    Peer.last.onerror?.(event);
    Peer.last.onclose(event);
    assert.equal(client.state, "waiting");
  }
  const client = await connected(t);
  Peer.last.send = () => {
    throw new Error("closing");
  };
  const said = client.say("r", 1);
  assert.deepEqual([client.state, client.pending], ["waiting", 1]);
  client.wake();
  await event(client, "login");
  Peer.last.say({ type: "ok", seq: Peer.last.seq, channel: "r" });
  await said;
});

test("without a WebSocket the constructor throws, and says where to get one", () => {
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket;
  try {
    assert.throws(() => new Client({ uid: "ann", url: "ws://x/ws" }), /package ws/);
  } finally {
    if (WebSocket) globalThis.WebSocket = WebSocket;
  }
});

test("what no attempt could mend is thrown by the constructor", () => {
  const good = { uid: "ann", url: "ws://x/ws", WebSocket: Peer };
  const bad = [
    undefined, {}, { uid: "" }, { uid: 5 }, { url: undefined }, { url: "" }, { url: "http://[" }, { url: "ftp://x/" }, { url: "/ws" }, { token: 5 }, { getToken: "t" },
    { WebSocket: {} }, { rooms: [5] }, { rooms: [""] }, { resume: { r: 5 } }, { resume: { r: { epoch: "a", offset: "x" } } }, { resume: { r: null } },
    ...Object.keys(DEFAULTS).flatMap((name) => [{ [name]: -1 }, { [name]: NaN }, { [name]: "5" }]),
  ];
  for (const options of bad) {
    const all = options && Object.keys(options).length > 0 ? { ...good, ...options } : options;
    assert.throws(() => new Client(all), TypeError, JSON.stringify(options));
  }
  for (const options of [{ timeout: undefined, backoffMax: null }, { uid: undefined, token: "t" }, { url: "https://x/ws" }, { url: new URL("wss://x/ws#y") }]) {
    assert.doesNotThrow(() => new Client({ ...good, ...options }));
  }
});

test("a WebSocket that refuses the address ends the client: no attempt could mend that", async () => {
  const Refusing = class {
    constructor() {
      throw new DOMException("the operation is insecure", "SecurityError");
    }
  };
  const clock = new Clock();
  const client = new Client({ uid: "ann", url: "ws://x/ws", WebSocket: Refusing, clock });
  const said = client.say("r", 1);
  await assert.rejects(client.connect(), { code: "unusable", message: /insecure/ });
  await assert.rejects(said, { code: "closed" });
  assert.deepEqual([client.state, clock.waiting], ["closed", 0]);
});

test("nobody who ignores a refusal is told of an unhandled rejection", async (t) => {
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on("unhandledRejection", note);
  t.after(() => process.off("unhandledRejection", note));
  const client = await connected(t);
  for (const ask of [() => client.say("r", 1), () => client.join("s"), () => client.leave("r"), () => client.who("r"), () => client.online([]), () => client.history("r"), () => client.renew("t")]) {
    ask();
    Peer.last.say({ type: "err", seq: Peer.last.seq, code: "forbidden" });
  }
  client.say("r", undefined);
  client.close();
  client.who("r");
  await new Promise((turn) => setImmediate(turn));
  assert.deepEqual(unhandled, []);
});
