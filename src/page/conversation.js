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
  /** Users in the room, or null as long as that isn't known. */
  people = null;
  /** Who was here before the connection was lost: that they come back too is no news. */
  returning = new Set();
  /** With a private conversation: whether the other is connected. */
  online = false;
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
    this.outgoing = this.outgoing.filter(({ id }) => id !== message.id);
    this.items.push(item);
    this.closed = false;
    return item;
  }

  /** Adds a page of older messages, oldest first, at the top or after `divider`. */
  prepend(messages, divider = null) {
    const items = messages.map((message) => this.#take(message)).filter(Boolean);
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

  /** Someone came or left; several in a row become one line. */
  comeOrGo(uid, verb) {
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
    return { kind: "message", channel, epoch, offset, id, from, ts, data, status: "here" };
  }
}
