/**
 * One conversation as the page shows it: what was said, what is still on its way, what is unread.
 *
 * Nothing here touches the document or the network. A conversation's key is a room's name, `@bob`
 * for the private line to bob, or `*` for notices to everyone.
 *
 * Invariant: `items` is in the order of the channel; what isn't confirmed stands in `outgoing`.
 */

/** Kept on the page for one conversation; older ones can be had again by scrolling up. */
const ITEMS_MAX = 600;
const ITEMS_TRIMMED = 100;
/** Farther from 1970 there are no dates (ECMA-262, Time Values). */
const TIME_MAX = 8.64e15;
/** Comings and goings that are told in one line. */
const COMINGS_MAX = 4;

export class Conversation {
  items = [];
  outgoing = [];
  unread = 0;
  /** The first item that nobody has looked at; the line "New" stands above it. */
  firstUnread = null;
  draft = "";
  epoch = null;
  /** Whether the first page of history has been asked for. */
  loaded = false;
  loading = false;
  /** Whether something older than the first item can be had. */
  more = false;
  /** Users in the room, as many as the server listed, or null as long as that isn't known. */
  people = null;
  /** How many users are in the room; more than `people` when the list was cut. */
  peopleTotal = 0;
  /** Who was here before the connection was lost: that they come back too is no news. */
  returning = new Set();
  /** With a private conversation: whether the other is connected; null as long as that isn't known. */
  online = null;
  /** Not listed until something is said again; what was said before is kept. */
  closed = false;
  #seen = new Set();

  constructor(key) {
    this.key = key;
  }

  get isRoom() {
    return !this.isPrivate && !this.isNotices;
  }

  get isPrivate() {
    return this.key.startsWith("@");
  }

  get isNotices() {
    return this.key === "*";
  }

  get name() {
    if (this.isNotices) return "Notices";
    return this.isPrivate ? this.key.slice(1) : this.key;
  }

  /** Adds a message that has just come; undefined when it stood here already. */
  receive(message) {
    const item = this.#take(message);
    if (!item) return undefined;
    this.#arrived(message.id);
    this.items.push(item);
    this.closed = false;
    return item;
  }

  /** Adds a page of older messages, oldest first, at the top or after `divider`. */
  prepend(messages, divider = null) {
    const items = messages.map((message) => this.#take(message)).filter(Boolean);
    for (const { id } of items) this.#arrived(id);
    this.items.splice(divider ? this.items.indexOf(divider) + 1 : 0, 0, ...items);
    return items;
  }

  /** Something of one's own that the server doesn't have yet. */
  say(id, from, text) {
    const item = { kind: "message", id, from, ts: Date.now(), data: { text }, status: "pending" };
    this.outgoing.push(item);
    return item;
  }

  discard(item) {
    this.outgoing = this.outgoing.filter((other) => other !== item);
  }

  /** The history began anew, or has a hole: nothing is said when there was nothing before. */
  divide(text) {
    // What the server took before is part of the old history, though it was never heard again.
    const sent = this.outgoing.filter(({ status }) => status === "sent");
    this.items.push(...sent);
    this.outgoing = this.outgoing.filter(({ status }) => status !== "sent");
    if (!this.items.some(({ kind }) => kind === "message")) return null;
    const divider = { kind: "divider", text };
    this.items.push(divider);
    return divider;
  }

  /** The connection is there again: who is here has to be asked anew. */
  reconnected() {
    this.returning = new Set(this.people ?? []);
    this.people = null;
  }

  /** The server's list of who is in the room, and how many there are. */
  sees(users, total) {
    this.people = users;
    this.peopleTotal = Math.max(total, users.length);
  }

  /** Someone came or left; whether that is news, and so is told in the log, depends on who. */
  comeOrGo(uid, verb, isNews = true) {
    const isBack = this.returning.delete(uid);
    if (this.people) {
      const others = this.people.filter((other) => other !== uid);
      const wasHere = others.length < this.people.length;
      const isHere = verb === "joined";
      this.people = isHere ? [...others, uid] : others;
      this.peopleTotal += Number(isHere) - Number(wasHere);
    }
    if (isNews && !isBack) this.#tellComing(uid, verb);
  }

  #arrived(id) {
    this.outgoing = this.outgoing.filter((item) => item.id !== id);
  }

  /** Several who come or leave in a row become one line. */
  #tellComing(uid, verb) {
    const last = this.items.at(-1);
    const coming = { uid, verb };
    if (last?.kind !== "comings") {
      this.items.push({ kind: "comings", comings: [coming] });
      return;
    }
    const others = last.comings.filter((other) => other.uid !== uid);
    last.comings = [...others, coming].slice(-COMINGS_MAX);
  }

  /** The offset before which older messages can be asked for, or null. */
  get oldestOffset() {
    const oldest = this.items.find(({ offset }) => Number.isInteger(offset));
    return oldest && oldest.epoch === this.epoch ? oldest.offset : null;
  }

  /** The newest message that has a position, if there is one. */
  get newest() {
    return this.items.findLast(({ offset }) => Number.isInteger(offset));
  }

  /** Forgets the oldest items when there are too many. */
  trim() {
    if (this.items.length <= ITEMS_MAX) return;
    for (const { epoch, offset } of this.items.splice(0, ITEMS_TRIMMED)) {
      this.#seen.delete(`${epoch} ${offset}`);
    }
    this.more = this.oldestOffset !== null;
  }

  #take({ channel, epoch, offset, id, from, ts, data }) {
    if (Number.isInteger(offset)) {
      const position = `${epoch} ${offset}`;
      if (this.#seen.has(position)) return null;
      this.#seen.add(position);
    }
    // A server whose clock is out of the range of dates isn't worth an error.
    const time = Math.abs(ts) <= TIME_MAX ? ts : Date.now();
    return { kind: "message", channel, epoch, offset, id, from, ts: time, data, status: "here" };
  }
}
