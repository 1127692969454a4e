/** The client against a peer that follows the wire contract by hand; time and chance are invented. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { once } from "node:events";
import { Client, TidingsError } from "../../src/page/client.js";
import { Mock, WebSocket } from "./mock.js";

/** Timers that run when the test says so. */
class Clock {
  #now = 0;
  #timers = new Map();
  #next = 1;

  now() {
    return this.#now;
  }

  setTimeout(run, ms) {
    this.#timers.set(this.#next, { run, due: this.#now + ms });
    return this.#next++;
  }

  clearTimeout(timer) {
    this.#timers.delete(timer);
  }

  get waiting() {
    return this.#timers.size;
  }

  /** Moves time on, and runs what falls due on the way, in its order. */
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { due }]) => due <= end);
      if (due.length === 0) break;
      const [key, timer] = due.reduce((a, b) => (b[1].due < a[1].due ? b : a));
      this.#timers.delete(key);
      this.#now = Math.max(this.#now, timer.due);
      timer.run();
    }
    this.#now = end;
  }
}

let mock, clock, clients;

beforeEach(async () => {
  mock = await Mock.start();
  clock = new Clock();
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await mock.stop();
});

/** A client whose events are kept in `heard`, with a random number that is always one half. */
function make(options = {}) {
  const client = new Client({ uid: "ann", rooms: ["lobby"], url: mock.url, WebSocket, clock, random: () => 0.5, ...options });
  client.heard = [];
  for (const name of ["message", "joined", "left", "gap", "restarted", "login", "state", "kick", "drain", "error"]) {
    client.on(name, (detail) => client.heard.push({ name, ...detail, detail }));
  }
  clients.push(client);
  return client;
}

async function connected(options) {
  const client = make(options);
  await client.connect();
  return client;
}

function event(client, name, likes = () => true) {
  return new Promise((resolve) => {
    const end = client.on(name, (detail) => {
      if (!likes(detail)) return;
      end();
      resolve(detail);
    });
  });
}

const state = (client, wanted) => event(client, "state", ({ state }) => state === wanted);
const texts = (client) => client.heard.filter(({ name }) => name === "message").map(({ data }) => data);
const named = (client, name) => client.heard.filter((heard) => heard.name === name);

/** Lets the clients find out about a cut, wait as long as they mean to, and log in again. */
async function back(...clients) {
  await Promise.all(clients.filter(({ state }) => state === "online").map((client) => state(client, "waiting")));
  const logins = clients.map((client) => event(client, "login"));
  clock.advance(Math.max(...clients.map((client) => named(client, "state").at(-1).delay)));
  await Promise.all(logins);
}

/** Everything that the server has sent so far has arrived when this is over. */
const settled = (client) => client.online([]);

test("a say is answered with its position and heard by its sender", async () => {
  const ann = await connected();
  const answer = await ann.say("lobby", { text: "hello" }, { id: "one" });
  assert.deepEqual([answer.channel, answer.offset, answer.id], ["lobby", 1, "one"]);
  await settled(ann);
  assert.deepEqual(texts(ann), [{ text: "hello" }]);
  assert.deepEqual(ann.position("lobby"), { epoch: answer.epoch, offset: 1 });
});

test("targets are rooms, users, all, or the protocol's own", async () => {
  const ann = await connected();
  const targets = ["lobby", "@bob", "*", { fd: 7 }];
  for (const to of targets) ann.say(to, 1).catch(() => {});
  await settled(ann);
  const sent = mock.commands.filter(({ type }) => type === "say").map(({ to }) => to);
  assert.deepEqual(sent, [{ room: "lobby" }, { user: "bob" }, { all: true }, { fd: 7 }]);
});

test("what is refused rejects with the server's code", async () => {
  const ann = await connected();
  mock.refuse.set("say", { code: "rate_limited", message: "slower", retry: true });
  await assert.rejects(ann.say("lobby", 1), { name: "TidingsError", code: "rate_limited", message: "slower", retry: true });
});

test("a command without an answer times out", async () => {
  const ann = await connected();
  mock.mute.add("say");
  const received = mock.next("say");
  const said = ann.say("lobby", 1, { timeout: 5_000 });
  await received;
  clock.advance(4_999);
  assert.equal(ann.pending, 1);
  clock.advance(1);
  await assert.rejects(said, { code: "timeout", retry: true });
  assert.equal(ann.pending, 0);
});

test("an unanswered say goes out again after a reconnect, and is stored and heard once", async () => {
  const ann = await connected();
  const bob = await connected({ uid: "bob" });
  mock.mute.add("say");
  const received = mock.next("say");
  const said = ann.say("lobby", "once");
  await received;
  mock.mute.clear();
  mock.cut();
  await back(ann, bob);
  assert.equal((await said).duplicate, true);
  await Promise.all([settled(ann), settled(bob)]);
  const sent = mock.commands.filter(({ type }) => type === "say");
  assert.equal(sent.length, 2);
  assert.equal(sent[0].id, sent[1].id);
  assert.deepEqual([texts(ann), texts(bob), mock.log("lobby").length], [["once"], ["once"], 1]);
});

test("what is said without a connection goes out in its order, before what is said at the login", async () => {
  const ann = await connected();
  mock.cut();
  await state(ann, "waiting");
  const said = [ann.say("lobby", 1), ann.say("lobby", 2)];
  ann.on("state", ({ state }) => state === "online" && said.push(ann.say("lobby", 3)));
  await back(ann);
  await Promise.all(said);
  assert.deepEqual(mock.log("lobby").map(({ data }) => data), [1, 2, 3]);
  assert.equal(mock.commands.filter(({ type }) => type === "say").length, 3);
});

test("a reconnect brings what was missed, in order, without doubles", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 1);
  mock.post({ user: "ann" }, "a");
  await settled(ann);
  mock.cut();
  await state(ann, "waiting");
  mock.post({ room: "lobby" }, 2);
  mock.post({ user: "ann" }, "b");
  mock.post({ room: "lobby" }, 3);
  await back(ann);
  mock.post({ room: "lobby" }, 4);
  await settled(ann);
  const of = (channel) => named(ann, "message").filter((m) => m.channel === channel).map(({ data }) => data);
  assert.deepEqual([of("lobby"), of("@ann")], [[1, 2, 3, 4], ["a", "b"]]);
  assert.deepEqual([named(ann, "gap"), named(ann, "restarted")], [[], []]);
});

test("a message that comes twice is heard once", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 1);
  mock.tell(mock.log("lobby")[0]);
  mock.post({ room: "lobby" }, "unkept", { store: false });
  mock.post({ room: "lobby" }, "unkept", { store: false });
  await settled(ann);
  assert.deepEqual(texts(ann), [1, "unkept", "unkept"]);
});

test("a server that forgot everything is told as a new beginning", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 1);
  await settled(ann);
  const before = ann.position("lobby");
  mock.forget();
  mock.cut();
  await state(ann, "waiting");
  mock.post({ room: "lobby" }, "missed for good");
  await back(ann);
  mock.post({ room: "lobby" }, 2);
  await settled(ann);
  const lobby = named(ann, "restarted").filter(({ channel }) => channel === "lobby");
  assert.equal(lobby.length, 1);
  assert.deepEqual(lobby[0].previous, before);
  assert.notEqual(lobby[0].epoch, before.epoch);
  assert.deepEqual([lobby[0].offset, texts(ann)], [1, [1, 2]]);
});

test("a purge while connected is a new beginning too, and the position follows it", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 1);
  mock.post({ room: "lobby" }, 2);
  mock.forget();
  mock.post({ room: "lobby" }, 3);
  await settled(ann);
  assert.deepEqual(texts(ann), [1, 2, 3]);
  assert.deepEqual(named(ann, "restarted").map(({ channel, offset }) => [channel, offset]), [["lobby", 0]]);
  assert.equal(ann.position("lobby").offset, 1);
});

test("a position older than what is kept is a gap", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 0);
  await settled(ann);
  mock.cut();
  await state(ann, "waiting");
  for (let n = 1; n < 5; n++) mock.post({ room: "lobby" }, n);
  mock.trim("lobby", 2);
  await back(ann);
  mock.post({ room: "lobby" }, 5);
  await settled(ann);
  assert.deepEqual(named(ann, "gap").map(({ channel, offset }) => [channel, offset]), [["lobby", 5]]);
  assert.deepEqual(texts(ann), [0, 5]);
});

test("a gap told by the server moves the position, and what follows it is no hole", async () => {
  const ann = await connected();
  const first = mock.post({ room: "lobby" }, 1);
  mock.tell({ type: "gap", channel: "lobby", epoch: first.epoch, offset: 90 });
  mock.tell({ type: "msg", channel: "lobby", epoch: first.epoch, offset: 91, id: "x", from: null, ts: 0, data: 91 });
  await settled(ann);
  assert.deepEqual(named(ann, "gap").map(({ offset }) => offset), [90]);
  assert.deepEqual(texts(ann), [1, 91]);
});

test("a jump of the offsets is told as a gap", async () => {
  const ann = await connected();
  const { epoch } = mock.post({ room: "lobby" }, 1);
  mock.tell({ type: "msg", channel: "lobby", epoch, offset: 9, id: "x", from: null, ts: 0, data: 9 });
  await settled(ann);
  assert.deepEqual(named(ann, "gap").map(({ offset, previous }) => [offset, previous.offset]), [[8, 1]]);
});

test("joining may ask for what is kept, for a position, or for what wasn't acked", async () => {
  for (let n = 1; n < 6; n++) mock.post({ room: "tea" }, n);
  const { epoch } = mock.post({ room: "tea" }, 6);
  const all = await connected({ uid: "all", rooms: [] });
  assert.deepEqual((await all.join("tea", { resume: { epoch: "", offset: 0 } })).recovered, true);
  const some = await connected({ uid: "some", rooms: [] });
  await some.join("tea", { resume: { epoch, offset: 4 } });
  const acked = await connected({ uid: "acked", rooms: ["tea"] });
  acked.ack("tea", 5);
  const written = mock.next("ack");
  clock.advance(1_000);
  await written;
  const again = await connected({ uid: "acked", rooms: ["tea"], resume: { tea: "acked" } });
  await Promise.all([all, some, again].map(settled));
  assert.deepEqual([texts(all), texts(some), texts(again)], [[1, 2, 3, 4, 5, 6], [5, 6], [6]]);
});

test("acks are gathered and only grow", async () => {
  const ann = await connected();
  for (const offset of [1, 5, 3]) ann.ack("lobby", offset);
  const written = mock.next("ack");
  clock.advance(1_000);
  await written;
  ann.ack("lobby", 4);
  clock.advance(1_000);
  await settled(ann);
  const acks = mock.commands.filter(({ type }) => type === "ack").map(({ offset }) => offset);
  assert.deepEqual([acks, mock.acked("ann", "lobby")], [[5], 5]);
});

test("rooms joined and left without a connection are right after the next login", async () => {
  const ann = await connected({ rooms: ["lobby", "old"] });
  mock.cut();
  await state(ann, "waiting");
  const joined = ann.join("new");
  await ann.leave("old");
  await back(ann);
  assert.equal((await joined).offset, 0);
  assert.deepEqual(mock.commands.findLast(({ type }) => type === "login").rooms, ["lobby", "new"]);
  assert.equal(mock.commands.filter(({ type }) => type === "join").length, 0);
});

test("nothing of a room is heard after leaving it", async () => {
  const ann = await connected();
  const left = ann.leave("lobby");
  mock.post({ room: "lobby" }, "late");
  await left;
  assert.deepEqual([texts(ann), ann.rooms, ann.position("lobby")], [[], [], null]);
});

test("one room that is refused doesn't lock the user out of the others", async () => {
  mock.forbidden.add("secret");
  const ann = make({ rooms: ["lobby", "secret"] });
  const refused = event(ann, "error");
  await ann.connect();
  const error = await refused;
  assert.deepEqual([error.code, error.room], ["forbidden", "secret"]);
  await settled(ann);
  assert.deepEqual(ann.rooms, ["lobby"]);
  await ann.say("lobby", 1);
});

test("rooms of a lasting membership count as joined", async () => {
  const ann = await connected();
  mock.tell({ type: "msg", channel: "given", epoch: "e", offset: 4, id: "x", from: null, ts: 0, data: 1 });
  await settled(ann);
  assert.deepEqual(ann.rooms, ["lobby", "given"]);
  mock.cut();
  await back(ann);
  const login = mock.commands.findLast(({ type }) => type === "login");
  assert.deepEqual([login.rooms, login.resume.given], [["lobby", "given"], { epoch: "e", offset: 4 }]);
});

test("a room may be called __proto__", async () => {
  const ann = await connected({ rooms: ["__proto__"] });
  mock.post({ room: "__proto__" }, 1);
  await settled(ann);
  mock.cut();
  await state(ann, "waiting");
  mock.post({ room: "__proto__" }, 2);
  // The mock's own answer is a plain object, so look at what was asked.
  const login = mock.next("login");
  clock.advance(250);
  assert.equal(Object.hasOwn((await login).resume, "__proto__"), true);
});

test("waits grow with full jitter up to the cap, and shrink after a stable connection", async () => {
  const bounds = [];
  for (const random of [0, 0.5, 0.999999]) {
    const ann = make({ random: () => random, url: "ws://127.0.0.1:1/ws" });
    ann.connect();
    for (let n = 0; n < 9; n++) {
      const { delay } = await state(ann, "waiting");
      bounds.push([n, random, delay]);
      clock.advance(delay);
    }
    ann.close();
  }
  for (const [n, random, delay] of bounds) {
    assert.equal(delay, random * Math.min(30_000, 500 * 2 ** n), `attempt ${n} with ${random}`);
  }
  const ann = await connected();
  const waits = [];
  for (const lasting of [0, 0, 9_999, 10_000]) {
    clock.advance(lasting);
    mock.cut();
    waits.push((await state(ann, "waiting")).delay);
    await back(ann);
  }
  assert.deepEqual(waits, [250, 500, 1_000, 250]);
});

test("a drain is obeyed to the millisecond, and new commands wait for the next connection", async () => {
  const ann = await connected();
  const drained = event(ann, "drain");
  mock.tell({ type: "drain", after_ms: 1_500 });
  await drained;
  const said = ann.say("lobby", "after");
  clock.advance(500);
  mock.closeAll(1012);
  assert.equal((await state(ann, "waiting")).delay, 1_000);
  assert.equal(mock.commands.filter(({ type }) => type === "say").length, 0);
  clock.advance(999);
  assert.equal(ann.state, "waiting");
  const login = event(ann, "login");
  clock.advance(1);
  await login;
  assert.equal((await said).offset, 1);
});

test("a server that drains and doesn't close is left when the time comes", async () => {
  const ann = await connected();
  const drained = event(ann, "drain");
  mock.tell({ type: "drain", after_ms: 2_000 });
  await drained;
  const login = event(ann, "login");
  clock.advance(2_000);
  await login;
});

for (const [code, name] of [[4001, "unauthorized"], [4003, "replaced"], [4004, "kicked"]]) {
  test(`close code ${code} ends it as ${name}`, async () => {
    const ann = await connected();
    mock.mute.add("say");
    const said = ann.say("lobby", 1);
    mock.closeAll(code, "because");
    const { error } = await state(ann, "closed");
    assert.deepEqual([error.code, error.message, error.closeCode], [name, "because", code]);
    await assert.rejects(said, { code: "closed" });
    await assert.rejects(ann.say("lobby", 2), { code: "closed" });
    assert.equal(clock.waiting, 0);
  });
}

test("a kick says why, whatever the close code", async () => {
  const ann = await connected();
  mock.tell({ type: "kick", code: "spam", message: "too loud" });
  mock.closeAll(4004);
  const { error } = await state(ann, "closed");
  assert.deepEqual([error.code, error.message, named(ann, "kick").length], ["spam", "too loud", 1]);
});

test("after a final close connect comes back and resumes", async () => {
  const ann = await connected();
  mock.post({ room: "lobby" }, 1);
  await settled(ann);
  mock.closeAll(4003);
  await state(ann, "closed");
  mock.post({ room: "lobby" }, 2);
  await ann.connect();
  await settled(ann);
  assert.deepEqual(texts(ann), [1, 2]);
});

test("an expired token is refreshed, and the say under way survives it", async () => {
  const asked = [];
  mock.admit = ({ token }, { socket }) => {
    if (token === "bad") socket.close(4001);
  };
  const getToken = async (why) => `t${asked.push(why.refresh)}`;
  const ann = await connected({ getToken });
  mock.mute.add("say");
  const received = mock.next("say");
  const said = ann.say("lobby", 1);
  await received;
  mock.mute.clear();
  mock.closeAll(4005);
  await back(ann);
  await said;
  mock.cut();
  await back(ann);
  assert.deepEqual(asked, [false, true, false]);
  assert.deepEqual(mock.commands.filter(({ type }) => type === "login").map(({ token }) => token), ["t1", "t2", "t3"]);
});

test("an expired token without getToken ends it", async () => {
  const ann = await connected({ token: "t" });
  mock.closeAll(4005);
  assert.equal((await state(ann, "closed")).error.code, "unauthorized");
});

test("a getToken that fails or hangs is tried again", async () => {
  let calls = 0;
  const getToken = () => {
    calls += 1;
    if (calls === 1) return Promise.reject(new Error("no token today"));
    return calls === 2 ? new Promise(() => {}) : "t";
  };
  const ann = make({ getToken });
  const ready = ann.connect();
  await state(ann, "waiting");
  assert.equal(named(ann, "error").length, 1);
  clock.advance(500);
  assert.equal(calls, 2);
  clock.advance(15_000);
  assert.equal(ann.state, "waiting");
  clock.advance(1_000);
  await ready;
  assert.equal(calls, 3);
});

test("renew hands over a token on the same connection", async () => {
  const ann = await connected({ token: "old" });
  await ann.renew("new");
  mock.cut();
  await back(ann);
  assert.deepEqual(mock.commands.filter(({ type }) => type === "login").map(({ token }) => token), ["old", "new", "new"]);
});

test("a refused login ends it, one that may be retried doesn't", async () => {
  mock.refuse.set("login", { code: "unavailable", retry: true });
  const ann = make();
  const ready = ann.connect();
  await mock.next("login");
  mock.closeAll(1013);
  const { delay } = await state(ann, "waiting");
  assert.equal(delay, 0.5 * 500 * 2 ** 3, "a crowded server isn't asked again at once");
  mock.refuse.set("login", { code: "unauthorized", message: "who are you?" });
  clock.advance(delay);
  await mock.next("login");
  mock.closeAll(1008);
  await assert.rejects(ready, { code: "unauthorized", message: "who are you?" });
});

test("a slow reader comes back at once, with jitter", async () => {
  const ann = await connected();
  for (let n = 0; n < 3; n++) {
    mock.closeAll(4008);
    assert.equal((await state(ann, "waiting")).delay, 250);
    await back(ann);
  }
});

test("a frame that is too big is not said again", async () => {
  const ann = await connected();
  await assert.rejects(ann.say("lobby", "x".repeat(65_535)), { code: "too_large" });
  mock.mute.add("say");
  const small = ann.say("lobby", "small");
  const large = ann.say("lobby", "x".repeat(60_000));
  await mock.next(({ data }) => data?.length === 60_000);
  mock.mute.clear();
  mock.closeAll(1009);
  await assert.rejects(large, { code: "too_large" });
  await back(ann);
  await small;
});

test("no more than pendingMax commands wait", async () => {
  const ann = await connected({ pendingMax: 3 });
  mock.deaf.add("say");
  const said = [1, 2, 3].map((n) => ann.say("lobby", n));
  await assert.rejects(ann.say("lobby", 4), { code: "queue_full", retry: true });
  assert.equal(ann.pending, 3);
  mock.deaf.clear();
  mock.cut();
  await back(ann);
  await Promise.all(said);
  await ann.say("lobby", 5);
  assert.deepEqual(mock.log("lobby").map(({ data }) => data), [1, 2, 3, 5]);
});

test("silence is asked about, and a server that stays silent is left", async () => {
  const ann = await connected();
  const silence = 1.5 * 25_000 + 10_000;
  let probe = mock.next("PING");
  clock.advance(silence);
  await probe;
  await settled(ann);
  clock.advance(10_000);
  assert.equal(ann.state, "online");
  mock.deaf.add("PING");
  probe = mock.next("PING");
  clock.advance(silence - 10_000);
  await probe;
  clock.advance(9_999);
  assert.equal(ann.state, "online");
  clock.advance(1);
  assert.equal(ann.state, "waiting");
  assert.match(named(ann, "state").at(-1).reason, /PING/);
  await back(ann);
});

test("anything heard puts the question off", async () => {
  const ann = await connected();
  for (let n = 0; n < 5; n++) {
    clock.advance(40_000);
    await settled(ann);
  }
  const silence = clock.now() + 47_500;
  const probe = mock.next("PING");
  clock.advance(47_499);
  clock.advance(1);
  await probe;
  assert.equal(clock.now(), silence);
});

test("a browser that comes online ends the wait, and a live connection is probed", async () => {
  const wakeups = new EventTarget();
  const ann = await connected({ wakeups });
  const probe = mock.next("PING");
  wakeups.dispatchEvent(new Event("online"));
  wakeups.dispatchEvent(new Event("offline"));
  await probe;
  mock.cut();
  await state(ann, "waiting");
  const login = event(ann, "login");
  wakeups.dispatchEvent(new Event("online"));
  await login;
  ann.close();
  wakeups.dispatchEvent(new Event("online"));
  assert.equal(ann.state, "closed");
});

test("a server that never says hello is given up and tried again", async () => {
  mock.deaf.add("login");
  const ann = make();
  ann.connect();
  await mock.next("login");
  clock.advance(15_000);
  assert.equal(ann.state, "waiting");
  mock.deaf.clear();
  await back(ann);
});

test("a listener that throws doesn't stop the others", async (t) => {
  const ann = await connected();
  const uncaught = [];
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(error.message));
  t.after(() => process.setUncaughtExceptionCaptureCallback(null));
  const end = ann.on("message", () => {
    throw new Error("mine");
  });
  const heard = event(ann, "message");
  mock.post({ room: "lobby" }, 1);
  await heard;
  end();
  await settled(ann);
  assert.deepEqual(uncaught, ["mine"]);
});

test("presence, who, online and history come through", async () => {
  mock.leftAfter = 0;
  const ann = await connected();
  const joined = event(ann, "joined");
  const bob = await connected({ uid: "bob" });
  assert.deepEqual(await joined, { room: "lobby", uid: "bob" });
  assert.deepEqual((await ann.who("lobby")).users, ["ann", "bob"]);
  assert.deepEqual(await ann.online(["bob", "cid"]), { bob: true, cid: false });
  const left = event(ann, "left");
  bob.close();
  assert.deepEqual(await left, { room: "lobby", uid: "bob" });
  for (let n = 1; n < 5; n++) mock.post({ room: "lobby" }, n);
  const { messages, more } = await ann.history("lobby", { before: 4, limit: 2 });
  assert.deepEqual([messages.map(({ data }) => data), more], [[3, 2], true]);
});

test("close ends everything: no timer, no connection, no promise left open", async () => {
  const ann = await connected();
  mock.deaf.add("who");
  const who = ann.who("lobby");
  const gone = once(mock, "gone");
  ann.close();
  await assert.rejects(who, { code: "closed" });
  await gone;
  assert.deepEqual([clock.waiting, mock.open, ann.state], [0, 0, "closed"]);
  const never = make();
  const ready = never.connect();
  never.close();
  await assert.rejects(ready, (error) => error instanceof TidingsError && error.code === "closed");
});
