/** Where WebSockets fail, messages come as events, and what is said is posted; on an invented clock. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Proxy } from "./proxy.js";
import { KEYS, token } from "./server.js";
import { EventSource } from "./stream_reader.js";
import { World, event, named, state, texts } from "./world.js";

/** A world whose network refuses WebSockets. */
async function refusing(t, options) {
  const world = await World.start(t, options);
  world.proxy = await Proxy.open(world.server);
  t.after(() => world.proxy.end());
  world.streaming = (more = {}) => world.make({ url: world.proxy.url, EventSource, ...more });
  return world;
}

/** Lets a client go through its attempts until it is online. */
async function online(world, client) {
  const login = event(client, "login");
  client.connect();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    const { delay } = await state(client, "waiting");
    world.clock.advance(delay);
  }
  await login;
}

test("three WebSockets in a row are refused, then messages come as events", async (t) => {
  const world = await refusing(t);
  const client = world.streaming({ rooms: ["lobby", "tea & cake"] });
  await online(world, client);
  assert.equal(world.proxy.asked, 3);
  assert.equal(world.proxy.streams.length, 1);
  const bob = await world.connected({ uid: "bob", rooms: ["lobby", "tea & cake"] });
  for (const room of ["lobby", "tea & cake"]) {
    const heard = event(client, "message", ({ channel }) => channel === room);
    await bob.say(room, `in ${room}`);
    await heard;
  }
  assert.deepEqual(texts(client), ["in lobby", "in tea & cake"]);
  const said = event(bob, "message", ({ from }) => from === "ann");
  const own = event(client, "message", ({ from }) => from === "ann");
  const receipt = await client.say("lobby", { line: "one\ntwo" });
  assert.equal(receipt.channel, "lobby");
  assert.deepEqual((await said).data, { line: "one\ntwo" });
  await own;
  await assert.rejects(client.who("lobby"), { code: "unavailable" });
});

test("with tokens, a stream is its user's, and posts in the user's name", async (t) => {
  const world = await refusing(t, { settings: KEYS });
  const client = world.streaming({ uid: undefined, token: token("ann"), rooms: ["lobby"] });
  await online(world, client);
  assert.equal(client.uid, "ann");
  const own = event(client, "message");
  await client.say("lobby", "hello");
  assert.equal((await own).from, "ann");
  const bad = world.streaming({ uid: undefined, token: token("ann", ["*"], { secret: "another one than the server's" }), rooms: [] });
  const ended = event(bad, "state", (detail) => detail.state === "closed");
  bad.connect().catch(() => {});
  for (let attempt = 0; attempt < 3; attempt += 1) world.clock.advance((await state(bad, "waiting")).delay);
  assert.equal((await ended).code, 4001);
});

test("a stream that breaks off goes on without a hole and without a repeat", async (t) => {
  const world = await refusing(t);
  const client = world.streaming();
  await online(world, client);
  for (let round = 0; round < 3; round += 1) {
    const heard = event(client, "message", ({ data }) => data === `${round} before`);
    await world.server.post({ room: "lobby" }, `${round} before`);
    await heard;
    const waits = state(client, "waiting");
    world.proxy.cut();
    const { delay } = await waits;
    await world.server.post({ room: "lobby" }, `${round} meanwhile`);
    const missed = event(client, "message", ({ data }) => data === `${round} meanwhile`);
    world.clock.advance(delay);
    await missed;
  }
  assert.deepEqual(texts(client), ["0 before", "0 meanwhile", "1 before", "1 meanwhile", "2 before", "2 meanwhile"]);
  assert.deepEqual([named(client, "gap"), named(client, "restarted")], [[], []]);
});

test("joining and leaving opens the stream anew", async (t) => {
  const world = await refusing(t);
  const client = world.streaming();
  await online(world, client);
  const joined = client.join("tea");
  world.clock.advance(0);
  await joined;
  const heard = event(client, "message", ({ channel }) => channel === "tea");
  await world.server.post({ room: "tea" }, "hot");
  await heard;
  const left = client.leave("tea");
  world.clock.advance(0);
  await left;
  assert.deepEqual(client.rooms, ["lobby"]);
  assert.deepEqual(world.proxy.streams.at(-1).getAll("room"), ["lobby"]);
});

test("a WebSocket is taken again once there can be one", async (t) => {
  const world = await refusing(t);
  const client = world.streaming();
  await online(world, client);
  world.proxy.refusesWebSockets = false;
  const again = event(client, "login");
  // In steps that leave the network time to answer.
  const steps = setInterval(() => world.clock.advance(2_000), 20);
  t.after(() => clearInterval(steps));
  await again;
  clearInterval(steps);
  assert.deepEqual((await client.who("lobby")).users, ["ann"]);
});

test("a server that is away for long is no network that breaks WebSockets", async (t) => {
  const world = await refusing(t);
  const client = world.streaming();
  world.proxy.isAway = true;
  client.connect().catch(() => {});
  for (let attempt = 0; attempt < 6; attempt += 1) {
    const { delay } = await state(client, "waiting");
    world.clock.advance(delay);
  }
  world.proxy.isAway = false;
  const { delay } = await state(client, "waiting");
  assert.equal(world.proxy.streams.length, 0);
  world.clock.advance(delay);
  await state(client, "waiting");
  assert.equal(world.proxy.streams.length, 0, "one refusal is too few");
});
