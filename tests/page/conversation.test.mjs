/** What a conversation keeps, and in which order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Conversation } from "../../src/page/page/conversation.js";

const message = (offset, more = {}) => ({
  channel: "lobby",
  epoch: "e",
  offset,
  id: `m${offset}`,
  from: "bob",
  ts: offset,
  data: { text: `${offset}` },
  ...more,
});

function lobby(...offsets) {
  const conversation = new Conversation("lobby");
  conversation.epoch = "e";
  for (const offset of offsets) conversation.receive(message(offset));
  return conversation;
}

const offsets = ({ items }) => items.map(({ offset, kind }) => offset ?? kind);

test("a message that comes live and in a page of history stands once", () => {
  const conversation = lobby(3, 4);
  assert.equal(conversation.receive(message(4)), undefined);
  conversation.prepend([message(1), message(2), message(3)]);
  assert.deepEqual(offsets(conversation), [1, 2, 3, 4]);
  assert.equal(conversation.oldestOffset, 1);
});

test("what is on its way stands last until it is heard, and then in the channel's order", () => {
  const conversation = lobby(1);
  conversation.say("mine", "ann", "hello");
  conversation.receive(message(2));
  assert.equal(conversation.outgoing.length, 1);
  conversation.receive(message(3, { id: "mine", from: "ann" }));
  assert.deepEqual([offsets(conversation), conversation.outgoing], [[1, 2, 3], []]);
});

test("a new beginning takes along what the server had taken, and leaves what it hadn't", () => {
  const conversation = lobby(1);
  conversation.say("taken", "ann", "1").status = "sent";
  conversation.say("waiting", "ann", "2");
  const divider = conversation.divide("anew");
  conversation.epoch = "f";
  assert.deepEqual(conversation.items.map(({ id, kind }) => id ?? kind), ["m1", "taken", "divider"]);
  assert.deepEqual(conversation.outgoing.map(({ id }) => id), ["waiting"]);
  assert.equal(conversation.oldestOffset, null, "the old epoch can't be asked for");
  conversation.receive(message(2, { epoch: "f" }));
  conversation.prepend([message(1, { epoch: "f" })], divider);
  assert.deepEqual(conversation.items.map(({ epoch, offset }) => `${epoch}${offset}`).slice(-2), ["f1", "f2"]);
});

test("where nothing was said nothing began anew", () => {
  const conversation = new Conversation("lobby");
  conversation.comeOrGo("bob", "joined");
  assert.equal(conversation.divide("anew"), null);
});

test("comings and goings in a row are one line of bounded length", () => {
  const conversation = new Conversation("lobby");
  for (const uid of ["a", "b", "c", "d", "e"]) conversation.comeOrGo(uid, "joined");
  conversation.comeOrGo("d", "left");
  const said = conversation.items.map(({ comings }) => comings.map(({ uid, verb }) => `${uid} ${verb}`));
  assert.deepEqual(said, [["b joined", "c joined", "e joined", "d left"]]);
});

test("what is trimmed can be had again", () => {
  const conversation = lobby(...Array.from({ length: 601 }, (_, n) => n + 1));
  conversation.trim();
  assert.deepEqual([conversation.items.length, conversation.oldestOffset, conversation.more], [501, 101, true]);
  assert.equal(conversation.prepend([message(100)]).length, 1);
});
