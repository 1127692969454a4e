/** The client, as the server hands it out, against that server; time and chance are invented. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { KEYS, token } from "./server.js";
import { World, event, named, state, texts } from "./world.js";

test("a say is answered with its position and heard by its sender", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const heard = event(ann, "message");
  const answer = await ann.say("lobby", { text: "hello" }, { id: "one" });
  assert.deepEqual([answer.channel, answer.offset, answer.id], ["lobby", 1, "one"]);
  assert.deepEqual((await heard).data, { text: "hello" });
  assert.deepEqual(ann.position("lobby"), { epoch: answer.epoch, offset: 1 });
});

test("targets are rooms, users, all, or the protocol's own", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const said = await Promise.allSettled(["lobby", "@bob", "*", { fd: ann.fd }].map((to) => ann.say(to, 1)));
  const sent = world.wire.commands.filter(({ type }) => type === "say").map(({ to }) => to);
  assert.deepEqual(sent, [{ room: "lobby" }, { user: "bob" }, { all: true }, { fd: ann.fd }]);
  assert.deepEqual(said.map(({ status, reason }) => reason?.code ?? status), ["fulfilled", "fulfilled", "forbidden", "forbidden"]);
});

test("what is refused rejects with the server's code", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const ann = await world.connected({ token: token("ann") });
  await assert.rejects(ann.say("elsewhere", 1), { name: "TidingsError", code: "not_member", retry: false });
  await assert.rejects(ann.join("@bob"), { code: "bad_request" });
});

test("a command without an answer times out", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  world.wire.unanswered.add("say");
  const received = world.wire.next("say");
  const said = ann.say("lobby", 1, { timeout: 5_000 });
  await received;
  world.clock.advance(4_999);
  assert.equal(ann.pending, 1);
  world.clock.advance(1);
  await assert.rejects(said, { code: "timeout", retry: true });
  assert.equal(ann.pending, 0);
});

test("a timeout may be longer than any timer, or none at all", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  world.wire.cut();
  await state(ann, "waiting");
  const said = [ann.say("lobby", 1, { timeout: 2 ** 40 }), ann.say("lobby", 2, { timeout: Infinity })];
  assert.equal(ann.pending, 2);
  await world.back(ann);
  assert.deepEqual((await Promise.all(said)).map(({ offset }) => offset), [1, 2]);
});

test("what has no JSON, and times that are none, reject at once", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const cycle = {};
  cycle.cycle = cycle;
  for (const data of [cycle, 1n, undefined, () => {}]) {
    await assert.rejects(ann.say("lobby", data), { code: "bad_request" });
  }
  await assert.rejects(ann.say("lobby", 1, { timeout: NaN }), TypeError);
  assert.throws(() => ann.ack("lobby", NaN), TypeError);
  assert.equal(ann.pending, 0);
});

test("an unanswered say goes out again after a reconnect, and is stored and heard once", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const bob = await world.connected({ uid: "bob" });
  world.wire.unanswered.add("say");
  const answered = once(world.wire, "lost");
  const said = ann.say("lobby", "once");
  await answered;
  world.wire.unanswered.clear();
  world.wire.cut();
  await world.back(ann, bob);
  assert.equal((await said).duplicate, true);
  await world.marked("lobby", ann, bob);
  const sent = world.wire.commands.filter(({ type }) => type === "say");
  assert.equal(sent.length, 2);
  assert.equal(sent[0].id, sent[1].id);
  assert.deepEqual([texts(ann), texts(bob)], [["once"], ["once"]]);
});

test("what may have arrived longer ago than the server knows ids is not said again", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  world.wire.lost.add("say");
  const lost = world.wire.next("say");
  const said = ann.say("lobby", "perhaps", { timeout: Infinity });
  await lost;
  world.wire.lost.clear();
  world.wire.cut();
  await state(ann, "waiting");
  await world.server.stop("SIGKILL");
  const waited = ann.say("lobby", "never sent before", { timeout: Infinity });
  const login = event(ann, "login");
  for (let minute = 0; minute < 5; minute++) {
    world.clock.advance(60_000);
    if (ann.state === "connecting") await state(ann, "waiting");
  }
  await world.server.start();
  if (ann.state === "waiting") ann.wake();
  await login;
  await assert.rejects(said, { code: "timeout", retry: true });
  assert.equal((await waited).offset, 1);
});

test("what is said without a connection goes out in its order, before what is said at the login", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  world.wire.cut();
  await state(ann, "waiting");
  const said = [ann.say("lobby", 1), ann.say("lobby", 2)];
  ann.on("state", ({ state }) => state === "online" && said.push(ann.say("lobby", 3)));
  await world.back(ann);
  await Promise.all(said);
  assert.deepEqual(await world.server.said("lobby"), [1, 2, 3]);
  assert.equal(world.wire.commands.filter(({ type }) => type === "say").length, 3);
});

test("a reconnect brings what was missed, in order, without doubles", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  await world.server.post({ room: "lobby" }, 1);
  const heard = event(ann, "message", ({ data }) => data === "a");
  await world.server.post({ user: "ann" }, "a");
  await heard;
  await world.marked("lobby", ann);
  world.wire.cut();
  await state(ann, "waiting");
  await world.server.post({ room: "lobby" }, 2);
  await world.server.post({ user: "ann" }, "b");
  await world.server.post({ room: "lobby" }, 3);
  const second = event(ann, "message", ({ data }) => data === "b");
  await world.back(ann);
  await second;
  await world.marked("lobby", ann);
  const of = (wanted) => named(ann, "message").filter(({ channel, data }) => channel === wanted && !String(data).startsWith("mark")).map(({ data }) => data);
  assert.deepEqual([of("lobby"), of("@ann")], [[1, 2, 3], ["a", "b"]]);
  assert.deepEqual([named(ann, "gap"), named(ann, "restarted")], [[], []]);
});

test("a server that lost everything is told as a new beginning", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  await ann.say("lobby", 1);
  await world.marked("lobby", ann);
  const before = ann.position("lobby");
  const gone = state(ann, "waiting");
  await world.server.restart(() => gone);
  await world.server.post({ room: "lobby" }, "missed for good");
  await world.back(ann);
  await world.marked("lobby", ann);
  const lobby = named(ann, "restarted").filter(({ channel }) => channel === "lobby");
  assert.equal(lobby.length, 1);
  assert.deepEqual(lobby[0].previous, before);
  assert.notEqual(lobby[0].epoch, before.epoch);
  assert.deepEqual([lobby[0].offset, texts(ann)], [1, [1]]);
});

test("a purge while connected is a new beginning too, and the position follows it", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  await ann.say("lobby", 1);
  await world.server.request("DELETE", "/v1/rooms/lobby/messages");
  await world.server.post({ room: "lobby" }, 2);
  await world.marked("lobby", ann);
  assert.deepEqual(texts(ann), [1, 2]);
  assert.equal(named(ann, "restarted").filter(({ channel }) => channel === "lobby").length, 1);
  assert.equal(ann.position("lobby").offset, 2);
});

test("a position older than what is kept is a gap", async (t) => {
  const world = await World.start(t, { set: ["chat.ring_messages_max=2"] });
  const ann = await world.connected();
  await world.server.post({ room: "lobby" }, 0);
  await world.marked("lobby", ann);
  world.wire.cut();
  await state(ann, "waiting");
  for (let n = 1; n < 5; n++) await world.server.post({ room: "lobby" }, n);
  await world.back(ann);
  await world.server.post({ room: "lobby" }, 5);
  await world.marked("lobby", ann);
  assert.deepEqual(named(ann, "gap").map(({ channel, offset }) => [channel, offset]), [["lobby", 6]]);
  assert.deepEqual(texts(ann), [0, 5]);
});

test("joining may ask for what is kept, for a position, or for what wasn't acked", async (t) => {
  const world = await World.start(t);
  let epoch;
  for (let n = 1; n < 7; n++) ({ epoch } = await world.server.post({ room: "tea" }, n));
  const all = await world.connected({ uid: "all", rooms: [] });
  assert.equal((await all.join("tea", { resume: { epoch: "", offset: 0 } })).recovered, true);
  const some = await world.connected({ uid: "some", rooms: [] });
  await some.join("tea", { resume: { epoch, offset: 4 } });
  const acked = await world.connected({ uid: "acked", rooms: ["tea"] });
  acked.ack("tea", 5);
  const written = world.wire.next("ack");
  world.clock.advance(1_000);
  await written;
  await acked.online(["acked"]); // the ack was taken before this was answered
  const again = await world.connected({ uid: "acked", rooms: ["tea"], resume: { tea: "acked" } });
  await world.marked("tea", all, some, again);
  assert.deepEqual([texts(all), texts(some), texts(again)], [[1, 2, 3, 4, 5, 6], [5, 6], [6]]);
});

test("acks are gathered and only grow, and go out again when they may have been lost", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  for (let n = 1; n < 6; n++) await ann.say("lobby", n);
  for (const offset of [1, 5, 3]) ann.ack("lobby", offset);
  world.wire.lost.add("ack");
  const written = world.wire.next("ack");
  world.clock.advance(1_000);
  await written;
  ann.ack("lobby", 4);
  world.clock.advance(1_000);
  await ann.online(["ann"]);
  const acks = () => world.wire.commands.filter(({ type }) => type === "ack").map(({ offset }) => offset);
  assert.deepEqual(acks(), [5]);
  world.wire.lost.clear();
  world.wire.cut();
  const again = world.wire.next("ack");
  await world.back(ann);
  await again;
  assert.deepEqual(acks(), [5, 5]);
});

test("rooms joined and left without a connection are right after the next login", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected({ rooms: ["lobby", "old"] });
  world.wire.cut();
  await state(ann, "waiting");
  const joined = ann.join("new");
  await ann.leave("old");
  await world.back(ann);
  assert.equal((await joined).offset, 0);
  assert.deepEqual(world.wire.commands.findLast(({ type }) => type === "login").rooms, ["lobby", "new"]);
  assert.equal(world.wire.commands.filter(({ type }) => type === "join").length, 0);
});

test("a room left while the login that names it is on its way is left", async (t) => {
  const world = await World.start(t);
  const ann = world.make({ rooms: ["lobby", "old"] });
  const login = world.wire.next("login");
  const ready = ann.connect();
  await login;
  await ann.leave("old");
  const leave = world.wire.next("leave");
  await ready;
  assert.equal((await leave).room, "old");
  await world.server.post({ room: "old" }, "not for ann");
  await world.marked("lobby", ann);
  assert.deepEqual([ann.rooms, texts(ann)], [["lobby"], []]);
});

test("nothing of a room is heard after leaving it", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected({ rooms: ["lobby", "tea"] });
  const left = ann.leave("tea");
  await world.server.post({ room: "tea" }, "late");
  await left;
  await world.marked("lobby", ann);
  assert.deepEqual([texts(ann), ann.rooms, ann.position("tea")], [[], ["lobby"], null]);
});

test("rooms of a lasting membership count as joined", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  await world.server.request("PUT", "/v1/rooms/given/members/ann");
  await world.marked("given", ann);
  assert.deepEqual(ann.rooms, ["lobby", "given"]);
  const position = ann.position("given");
  world.wire.cut();
  await world.back(ann);
  const login = world.wire.commands.findLast(({ type }) => type === "login");
  assert.deepEqual([login.rooms, login.resume.given], [["lobby", "given"], position]);
});

test("a room may be called __proto__", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected({ rooms: ["__proto__"] });
  await world.server.post({ room: "__proto__" }, 1);
  await world.marked("__proto__", ann);
  world.wire.cut();
  await state(ann, "waiting");
  await world.server.post({ room: "__proto__" }, 2);
  await world.back(ann);
  await world.marked("__proto__", ann);
  assert.deepEqual(texts(ann), [1, 2]);
});

test("waits grow with full jitter up to the cap, and shrink after a stable connection", async (t) => {
  const world = await World.start(t);
  const bounds = [];
  for (const random of [0, 0.5, 0.999999]) {
    const ann = world.make({ random: () => random, url: "ws://127.0.0.1:1/ws" });
    ann.connect();
    for (let n = 0; n < 9; n++) {
      const { delay } = await state(ann, "waiting");
      bounds.push([n, random, delay]);
      world.clock.advance(delay);
    }
    ann.close();
  }
  for (const [n, random, delay] of bounds) {
    assert.equal(delay, random * Math.min(30_000, 500 * 2 ** n), `attempt ${n} with ${random}`);
  }
  const ann = await world.connected();
  const waits = [];
  for (const lasting of [0, 0, 9_999, 10_000]) {
    world.clock.advance(lasting);
    world.wire.cut();
    waits.push((await state(ann, "waiting")).delay);
    await world.back(ann);
  }
  assert.deepEqual(waits, [250, 500, 1_000, 250]);
});

test("no more than pendingMax commands wait", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected({ pendingMax: 3 });
  world.wire.lost.add("say");
  const said = [1, 2, 3].map((n) => ann.say("lobby", n));
  await assert.rejects(ann.say("lobby", 4), { code: "queue_full", retry: true });
  assert.equal(ann.pending, 3);
  world.wire.lost.clear();
  world.wire.cut();
  await world.back(ann);
  await Promise.all(said);
  await ann.say("lobby", 5);
  assert.deepEqual(await world.server.said("lobby"), [1, 2, 3, 5]);
});

test("silence is asked about, and a server that stays silent is left", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const silence = 1.5 * 25_000 + 10_000;
  const answered = once(world.wire, "frame");
  world.clock.advance(silence);
  await answered;
  await ann.online(["ann"]);
  world.clock.advance(10_000);
  assert.equal(ann.state, "online");
  world.wire.lost.add("PING");
  const probe = world.wire.next("PING");
  world.clock.advance(silence - 10_000);
  await probe;
  world.clock.advance(9_999);
  assert.equal(ann.state, "online");
  world.clock.advance(1);
  assert.equal(ann.state, "waiting");
  assert.match(named(ann, "state").at(-1).reason, /PING/);
  await world.back(ann);
});

test("anything heard puts the question off", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  for (let n = 0; n < 5; n++) {
    world.clock.advance(40_000);
    await ann.online(["ann"]);
  }
  const asked = () => world.wire.commands.some(({ type }) => type === "PING");
  world.clock.advance(47_499);
  await ann.who("lobby");
  assert.equal(asked(), false);
  const probe = world.wire.next("PING");
  world.clock.advance(47_500);
  await probe;
});

test("a browser that comes online ends the wait, and a live connection is probed", async (t) => {
  const world = await World.start(t);
  const wakeups = new EventTarget();
  const ann = await world.connected({ wakeups });
  const probe = world.wire.next("PING");
  wakeups.dispatchEvent(new Event("online"));
  wakeups.dispatchEvent(new Event("offline"));
  await probe;
  world.wire.cut();
  await state(ann, "waiting");
  const login = event(ann, "login");
  wakeups.dispatchEvent(new Event("online"));
  await login;
  ann.close();
  wakeups.dispatchEvent(new Event("online"));
  assert.equal(ann.state, "closed");
});

test("a login that is never answered is given up and tried again", async (t) => {
  const world = await World.start(t);
  world.wire.lost.add("login");
  const ann = world.make();
  ann.connect();
  await world.wire.next("login");
  world.clock.advance(15_000);
  assert.equal(ann.state, "waiting");
  world.wire.lost.clear();
  await world.back(ann);
});

test("presence, who, online and history come through", async (t) => {
  const world = await World.start(t, { set: ["chat.left_ms=100"] });
  const ann = await world.connected();
  const joined = event(ann, "joined");
  const bob = await world.connected({ uid: "bob" });
  assert.deepEqual(await joined, { room: "lobby", uid: "bob" });
  assert.deepEqual((await ann.who("lobby")).users, ["ann", "bob"]);
  assert.deepEqual(await ann.online(["bob", "cid"]), { bob: true, cid: false });
  const left = event(ann, "left");
  bob.close();
  assert.deepEqual(await left, { room: "lobby", uid: "bob" });
  for (let n = 1; n < 5; n++) await world.server.post({ room: "lobby" }, n);
  const { messages, more } = await ann.history("lobby", { before: 4, limit: 2 });
  assert.deepEqual([messages.map(({ data }) => data), more], [[3, 2], true]);
});

test("close ends everything: no timer, no connection, no promise left open", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  world.wire.lost.add("who");
  const who = ann.who("lobby");
  const gone = once(world.wire, "gone");
  ann.ack("lobby", 1);
  ann.close();
  await assert.rejects(who, { code: "closed" });
  await gone;
  assert.deepEqual([world.clock.waiting, world.wire.open, ann.state], [0, 0, "closed"]);
  const never = world.make();
  const ready = never.connect();
  never.close();
  await assert.rejects(ready, { name: "TidingsError", code: "closed" });
  assert.equal(world.clock.waiting, 0);
});

test("listeners may close and connect again in the middle of anything", async (t) => {
  const world = await World.start(t);
  for (const name of ["state", "login", "message"]) {
    const ann = world.make();
    const end = ann.on(name, () => ann.close());
    await ann.connect().catch(() => {});
    if (name === "message") {
      ann.say("lobby", 1);
      await state(ann, "closed");
    }
    assert.deepEqual([ann.state, ann.pending], ["closed", 0], name);
    end();
  }
  const bob = await world.connected({ uid: "bob" });
  let again;
  const end = bob.on("state", ({ state }) => state === "closed" && (again = bob.connect()));
  bob.close();
  end();
  await again;
  assert.equal(bob.state, "online");
});

test("a listener that throws stops neither the others nor the client", async (t) => {
  const world = await World.start(t);
  const reported = t.mock.method(console, "error", () => {});
  const uncaught = [];
  process.setUncaughtExceptionCaptureCallback((error) => uncaught.push(error.message));
  t.after(() => process.setUncaughtExceptionCaptureCallback(null));
  const ann = world.make();
  for (const name of ["state", "login", "message"]) {
    ann.on(name, () => {
      throw new Error(`thrown at ${name}`);
    });
    ann.on(name, async () => {
      throw new Error(`rejected at ${name}`);
    });
  }
  await ann.connect();
  await ann.say("lobby", 1);
  await world.marked("lobby", ann);
  assert.deepEqual(texts(ann), [1]);
  assert.deepEqual(uncaught, []);
  const messages = reported.mock.calls.map(({ arguments: [error] }) => error.message);
  for (const name of ["state", "login", "message"]) {
    assert.ok(messages.includes(`thrown at ${name}`) && messages.includes(`rejected at ${name}`), name);
  }
});
