/** What the client does at the end of a connection: the close code decides. Each against the real server where it closes so. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { KEYS, token } from "./server.js";
import { World, event, named, state } from "./world.js";

const FINAL = { 1002: "bad_request", 1003: "bad_request", 1007: "bad_request", 1008: "forbidden", 1009: "too_large", 4001: "unauthorized", 4003: "replaced", 4004: "kicked" };
const PASSING = [1000, 1001, 1011, 1012, 1013, 4002, 4008, 4009, 4010, 4999];
/** Passing only for those who can get another token; it has tests of its own below. */
const TOKEN_EXPIRED = 4005;

test("the close codes of these tests are those of docs/protocol.md", () => {
  const page = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
  const table = page.split("<!-- table: closes -->")[1].split("<!--")[0];
  const rows = [...table.matchAll(/^\| `(\d{4})` \|.*\| (yes|no)[^|]*\|$/gm)].map(([, code, back]) => [Number(code), back]);
  assert.ok(rows.length > 10, table);
  for (const [code, back] of rows) assert.equal(back === "no" ? code in FINAL : [...PASSING, TOKEN_EXPIRED].includes(code), true, `${code}: ${back}`);
});

for (const [code, word] of Object.entries(FINAL)) {
  test(`after close code ${code} the client doesn't come back, and every promise is settled`, async (t) => {
    const world = await World.start(t);
    const ann = await world.connected({ getToken: () => "t" });
    world.wire.unanswered.add("say");
    const said = ann.say("lobby", 1);
    const closed = state(ann, "closed");
    world.wire.close(Number(code), "because");
    const { error, previous } = await closed;
    assert.deepEqual([error.code, error.message, error.closeCode, previous], [word, "because", Number(code), "online"]);
    await assert.rejects(said, { code: code === "1009" ? "too_large" : "closed" });
    await assert.rejects(ann.say("lobby", 2), { code: "closed" });
    assert.deepEqual([world.clock.waiting, ann.pending], [0, 0]);
  });
}

for (const code of PASSING) {
  test(`after close code ${code} the client comes back`, async (t) => {
    const world = await World.start(t);
    const ann = await world.connected();
    const waiting = state(ann, "waiting");
    world.wire.close(code, "because");
    const { reason, code: told } = await waiting;
    assert.deepEqual([told, reason], [code, "because"]);
    await world.back(ann);
    await ann.say("lobby", "here again");
  });
}

test("after a cut without a Close the client comes back", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const waiting = state(ann, "waiting");
  world.wire.cut();
  assert.equal((await waiting).code, 1006);
  await world.back(ann);
});

test("1001 from a server that stops: its drain is obeyed to the millisecond", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const drained = event(ann, "drain");
  const waiting = state(ann, "waiting");
  const stopped = world.server.stop("SIGTERM");
  const { after_ms } = await drained;
  const { delay, code } = await waiting;
  assert.deepEqual([delay, code], [after_ms, 1001]);
  await stopped;
  await world.server.start();
  const said = ann.say("lobby", "after");
  const login = event(ann, "login");
  world.clock.advance(delay - 1);
  assert.equal(ann.state, "waiting");
  world.clock.advance(1);
  await login;
  assert.equal((await said).offset, 1);
});

test("a server that drains and doesn't close is left when the time comes, and nothing new is said to it", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const drained = event(ann, "drain");
  world.wire.tell({ type: "drain", after_ms: 2_000 });
  await drained;
  const said = ann.say("lobby", "after");
  assert.equal(world.wire.commands.filter(({ type }) => type === "say").length, 0);
  const login = event(ann, "login");
  world.clock.advance(2_000);
  await login;
  assert.equal((await said).offset, 1);
});

test("4001: a token that isn't the server's ends it, also where tokens can be had", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const bad = token("ann", ["*"], { secret: "another-secret-than-the-one-of-the-server" });
  for (const access of [{ token: bad }, { token: "rubbish" }, { getToken: async () => bad }]) {
    const ann = world.make(access);
    await assert.rejects(ann.connect(), { code: "unauthorized", closeCode: 4001 });
    assert.deepEqual([ann.state, named(ann, "kick").length, world.clock.waiting], ["closed", 1, 0]);
  }
});

test("a login that is refused ends it at once, and says which part of it was wrong", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const none = world.make();
  await assert.rejects(none.connect(), { code: "unauthorized" });
  const other = world.make({ uid: "bob", token: token("ann") });
  await assert.rejects(other.connect(), { code: "forbidden" });
  assert.equal(world.clock.waiting, 0);
});

test("4002: a login that comes too late is tried again, with a fresh token", async (t) => {
  const world = await World.start(t, { settings: KEYS, set: ["tokens.login_ms_max=3000"] });
  const asked = [];
  world.wire.lost.add("login");
  const ann = world.make({ getToken: async ({ refresh }) => asked.push(refresh) && token("ann") });
  const waiting = state(ann, "waiting");
  const ready = ann.connect();
  assert.equal((await waiting).code, 4002);
  world.wire.lost.clear();
  await world.back(ann);
  await ready;
  assert.deepEqual(asked, [false, true]);
});

test("4003: the oldest of too many connections goes for good", async (t) => {
  const world = await World.start(t, { set: ["chat.connections_per_user_max=1"] });
  const first = await world.connected();
  const closed = state(first, "closed");
  const second = await world.connected();
  const { error } = await closed;
  assert.deepEqual([error.code, error.closeCode, second.state], ["replaced", 4003, "online"]);
});

test("4004: who is asked to leave stays away, and hears the application's own words", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const closed = state(ann, "closed");
  await world.server.request("POST", "/v1/users/ann/kick", { code: "spam", message: "too loud" });
  const { error } = await closed;
  assert.deepEqual([error.code, error.message, error.closeCode, named(ann, "kick").length], ["spam", "too loud", 4004, 1]);
});

test("the words of a kick decide nothing", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  const waiting = state(ann, "waiting");
  world.wire.tell({ type: "kick", code: "kicked", message: "because" });
  world.wire.close(1012);
  assert.equal((await waiting).reason, "because");
  await world.back(ann);
});

test("4005: a token that ends is replaced by a fresh one, and what is under way survives it", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const asked = [];
  const getToken = async ({ refresh }) => token("ann", ["*"], { ttl_s: asked.push(refresh) === 1 ? 4 : 3600 });
  const ann = await world.connected({ getToken });
  world.wire.unanswered.add("say");
  const waiting = state(ann, "waiting");
  const said = ann.say("lobby", 1);
  assert.equal((await waiting).code, 4005);
  world.wire.unanswered.clear();
  await world.back(ann);
  assert.equal((await said).duplicate, true);
  assert.deepEqual(asked, [false, true]);
  assert.equal(named(ann, "kick")[0].code, "token_expired");
});

test("4005: a token that had ended before the login is replaced too", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const asked = [];
  const getToken = async ({ refresh }) => token("ann", ["*"], { ttl_s: asked.push(refresh) === 1 ? -5 : 3600 });
  const ann = world.make({ getToken });
  const waiting = state(ann, "waiting");
  const ready = ann.connect();
  assert.equal((await waiting).code, 4005);
  await world.back(ann);
  await ready;
  assert.deepEqual(asked, [false, true]);
});

test("4005 without anybody to ask for a token ends it", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const ann = world.make({ token: token("ann", ["*"], { ttl_s: -5 }) });
  await assert.rejects(ann.connect(), { code: "unauthorized", closeCode: 4005 });
});

test("4008: a slow reader comes back at once and has everything", async (t) => {
  const small = ["outbox.size_max=65536", "outbox.pause_size=32768", "outbox.flush_size=16384", "outbox.stall_ms_max=1000"];
  const world = await World.start(t, { set: small, onDisk: true });
  const ann = await world.connected();
  const waiting = state(ann, "waiting");
  world.wire.hold();
  for (let n = 0; n < 90; n++) await world.server.post({ room: "lobby" }, `${n} ${"x".repeat(60_000)}`);
  world.wire.release();
  const { code, delay } = await waiting;
  assert.deepEqual([code, delay], [4008, 250]);
  await world.back(ann);
  await world.marked("lobby", ann);
  const heard = named(ann, "message").map(({ data }) => Number.parseInt(data, 10)).filter(Number.isInteger);
  assert.deepEqual([named(ann, "gap"), named(ann, "restarted")], [[], []]);
  assert.deepEqual(heard, Array.from({ length: 90 }, (_, n) => n));
});

test("4009: over the rate limit it comes back after a pause, never at once", async (t) => {
  const set = ["limits.commands_per_s_max=5", "limits.commands_burst_max=5"];
  const world = await World.start(t, { settings: KEYS, set });
  const ann = await world.connected({ token: token("ann"), random: () => 0 });
  const waiting = state(ann, "waiting");
  const asked = Array.from({ length: 60 }, () => ann.online(["ann"]));
  const { code, delay } = await waiting;
  assert.deepEqual([code, delay], [4009, 2_000]);
  // More commands wait than the server takes at once: the next pause is longer, and in the end all are answered.
  const answers = Promise.allSettled(asked);
  let isOver = false;
  answers.then(() => (isOver = true));
  while (!isOver) {
    if (ann.state === "waiting") ann.wake();
    await new Promise((turn) => setTimeout(turn, 50));
  }
  const codes = new Set((await answers).map(({ reason }) => reason?.code ?? "answered"));
  assert.deepEqual([...codes].filter((one) => one !== "answered" && one !== "rate_limited"), []);
  assert.notEqual(ann.state, "closed");
});

test("1013: a server that is full isn't asked again at once", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected({ random: () => 0 });
  const waiting = state(ann, "waiting");
  world.wire.close(1013);
  assert.equal((await waiting).delay, 2_000);
});

test("4010: a connection whose pongs get lost comes back", async (t) => {
  const set = ["websocket.ping_ms=2000", "websocket.pong_ms_max=1500"];
  const world = await World.start(t, { set, wire: { autoPong: false } });
  const ann = await world.connected();
  assert.equal((await state(ann, "waiting")).code, 4010);
  await world.back(ann);
});

test("what is larger than the server takes is refused here, and the connection lasts", async (t) => {
  const world = await World.start(t, { set: ["websocket.message_size_max=1024"] });
  const ann = world.make();
  const early = ann.say("lobby", "ö".repeat(600));
  await ann.connect();
  await assert.rejects(early, { code: "too_large" });
  await assert.rejects(ann.say("lobby", "x".repeat(1_000)), { code: "too_large" });
  await assert.rejects(ann.history("y".repeat(1_024)), { code: "too_large" });
  await ann.say("lobby", "x".repeat(700));
  assert.equal(named(ann, "state").length, 2);
});

test("a login that would be too large joins its rooms one by one", async (t) => {
  const world = await World.start(t, { set: ["websocket.message_size_max=1024"] });
  const rooms = Array.from({ length: 20 }, (_, n) => `room-${n}-${"r".repeat(60)}`);
  const ann = await world.connected({ rooms });
  await ann.say(rooms[19], "here");
  assert.deepEqual([ann.rooms.length, named(ann, "error")], [20, []]);
});

test("one room that is refused doesn't lock the user out of the others", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const ann = world.make({ token: token("ann", ["lobby"]), rooms: ["lobby", "secret"] });
  const refused = event(ann, "error");
  await ann.connect();
  const { code, room } = await refused;
  assert.deepEqual([code, room], ["forbidden", "secret"]);
  assert.deepEqual(ann.rooms, ["lobby"]);
  await ann.say("lobby", 1);
});

test("with a token nobody has to say the name", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const ann = world.make({ uid: undefined, token: token("ann") });
  assert.equal(ann.uid, null);
  await ann.connect();
  assert.equal(ann.uid, "ann");
  const heard = event(ann, "message", ({ channel }) => channel === "@ann");
  await ann.say("@ann", "to myself");
  await heard;
});

test("renew hands over a token on the same connection, and a longer one keeps it", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const fresh = token("ann");
  const ann = await world.connected({ token: token("ann", ["*"], { ttl_s: 30 }) });
  await ann.renew(fresh);
  world.wire.cut();
  await world.back(ann);
  const logins = world.wire.commands.filter(({ type }) => type === "login");
  assert.deepEqual(logins.slice(1).map((login) => login.token), [fresh, fresh]);
});

test("a getToken that fails or hangs is tried again; what it says too late counts no more", async (t) => {
  const world = await World.start(t, { settings: KEYS });
  const late = Promise.withResolvers?.() ?? withResolvers();
  let calls = 0;
  const getToken = () => {
    calls += 1;
    if (calls === 1) return Promise.reject(new Error("no token today"));
    return calls === 2 ? late.promise : token("ann");
  };
  const ann = world.make({ getToken });
  const first = state(ann, "waiting");
  const ready = ann.connect();
  await first;
  assert.equal(named(ann, "error").length, 1);
  world.clock.advance(500);
  assert.equal(calls, 2);
  world.clock.advance(15_000);
  assert.equal(ann.state, "waiting");
  world.clock.advance(1_000);
  await ready;
  late.resolve("rubbish");
  await late.promise;
  world.wire.cut();
  await world.back(ann);
  assert.equal(calls, 4);
});

test("a getToken that has no token for good ends it", async (t) => {
  const world = await World.start(t);
  const getToken = () => Promise.reject(new world.module.TidingsError("signed_out", "nobody is signed in"));
  await assert.rejects(world.make({ getToken }).connect(), { code: "unauthorized", message: /nobody is signed in/ });
});

test("after a final close connect comes back and resumes", async (t) => {
  const world = await World.start(t);
  const ann = await world.connected();
  await world.server.post({ room: "lobby" }, 1);
  await world.marked("lobby", ann);
  const closed = state(ann, "closed");
  await world.server.request("POST", "/v1/users/ann/kick", {});
  await closed;
  await world.server.post({ room: "lobby" }, 2);
  await ann.connect();
  await world.marked("lobby", ann);
  assert.deepEqual(named(ann, "message").map(({ offset }) => offset), [1, 2, 3, 4]);
});

function withResolvers() {
  const all = {};
  all.promise = new Promise((resolve) => (all.resolve = resolve));
  return all;
}
