/**
 * The conversations of one user, kept up to date by the client; knows nothing of the document.
 *
 * `changed` is called whenever something has to be drawn anew, `tell` with what is said in passing.
 */
import { Conversation } from "./conversation.js";
import { History } from "./history.js";
import { Outgoing } from "./outgoing.js";
import { memory, session } from "./memory.js";
import { notEntered } from "./words.js";

/** How often the page asks who is there: not everything that changes is told. */
const LOOK_EVERY_MS = 30_000;
const ANEW = "History began anew";
const UNREADABLE = "A message can't be shown here";

export class Chat {
  conversations = new Map();
  active = null;
  outgoing;
  history;
  /** Whether the one in front sees the end of the active conversation. */
  isLooking = () => true;
  /** Conversation → `{ epoch, offset }` of what was looked at last. */
  #read;
  #drafts;
  #isUnreadableTold = false;

  /** @param {{ client: object, rooms: string[], asked: string | null, changed: () => void, tell: (text: string) => void }} parts */
  constructor({ client, rooms, asked, changed, tell }) {
    Object.assign(this, { client, changed, tell, uid: client.uid });
    this.#read = new Map(Object.entries(memory.get(`read.${this.uid}`, {})));
    this.#drafts = new Map(Object.entries(session.get(`drafts.${this.uid}`, {})));
    this.history = new History(client, this);
    this.outgoing = new Outgoing(client, changed);
    for (const room of rooms) this.conversation(room);
    this.outgoing.restore((key, id, text) => this.conversation(key).say(id, this.uid, text));
    const last = memory.get(`active.${this.uid}`, null);
    this.choose(asked ?? (this.conversations.has(last) ? last : (this.inListOrder()[0]?.key ?? null)));
    this.#listen();
  }

  get isConnected() {
    return this.client.state === "online";
  }

  /** The conversation of that key, made when there is none yet. */
  conversation(key) {
    if (!this.conversations.has(key)) {
      const conversation = new Conversation(key);
      conversation.draft = this.#drafts.get(key) ?? "";
      this.conversations.set(key, conversation);
    }
    return this.conversations.get(key);
  }

  all() {
    return [...this.conversations.values()];
  }

  inListOrder() {
    const open = this.all().filter(({ closed }) => !closed);
    return [...open.filter(({ isRoom }) => isRoom), ...open.filter(({ isRoom }) => !isRoom)];
  }

  #listen() {
    const { client } = this;
    client.on("message", (message) => this.#receive(message));
    client.on("restarted", (hole) => this.#restarted(hole));
    client.on("gap", ({ channel }) => this.#divide(channel, "Some messages are no longer kept"));
    client.on("joined", ({ room, uid }) => this.#comeOrGo(room, uid, "joined"));
    client.on("left", ({ room, uid }) => this.#comeOrGo(room, uid, "left"));
    client.on("presence", ({ room, state, users, users_total: total }) => {
      const conversation = this.conversations.get(room);
      if (state === "on" && users) conversation?.sees(users, total ?? users.length);
      else if (conversation === this.active) this.#lookWhoIsHere();
      this.changed();
    });
    client.on("error", (error) => this.#error(error));
    this.lookTimer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Stops for good; what waits to be sent and the drafts stay in the tab. */
  end() {
    clearInterval(this.lookTimer);
    this.client.close();
  }

  /** Takes away what this tab keeps of the user. */
  forgetSession() {
    session.set(`outgoing.${this.uid}`, null);
    session.set(`drafts.${this.uid}`, null);
  }

  // ---- What comes from the server -----------------------------------------------------------

  loggedIn(channels) {
    for (const [channel, { epoch, offset }] of Object.entries(channels)) {
      if (channel === `@${this.uid}`) this.history.openInbox(epoch, offset).then(() => this.#lookWhoIsOnline());
      else if (channel !== "*") this.history.openRoom(this.conversation(channel), epoch, offset);
    }
    for (const conversation of this.all()) conversation.reconnected();
    this.outgoing.loggedIn();
    if (this.active === null) this.choose(this.inListOrder()[0]?.key ?? null);
    this.#rememberRooms();
    this.#look();
    this.changed();
  }

  /** The conversations in which a channel's messages stand. */
  #shownIn(channel) {
    if (channel === `@${this.uid}`) return this.all().filter(({ isPrivate }) => isPrivate);
    return this.all().filter(({ key }) => key === channel);
  }

  /** After a reload: what stands in the history and wasn't looked at before. */
  countUnread(conversation) {
    const read = this.#read.get(conversation.key);
    if (!read || conversation === this.active) return;
    const unread = conversation.items.filter(
      ({ epoch, offset, from }) => epoch === read.epoch && offset > read.offset && from !== this.uid,
    );
    conversation.unread = unread.length;
    conversation.firstUnread = unread[0] ?? null;
    this.changed();
  }

  keyOf({ channel, from, to }) {
    if (channel !== `@${this.uid}`) return channel;
    if (from === null) return "*";
    return `@${from === this.uid ? (to ?? from) : from}`;
  }

  #receive(message) {
    const conversation = this.conversation(this.keyOf(message));
    const item = conversation.receive(message);
    if (!item) return;
    if (message.from === this.uid) this.outgoing.forget(message.id);
    if (!conversation.isPrivate && message.epoch) conversation.epoch = message.epoch;
    const isLooking = this.isLooking();
    if (message.from !== this.uid && !(conversation === this.active && isLooking)) {
      if (conversation.unread === 0) conversation.firstUnread = item;
      conversation.unread += 1;
    }
    if (isLooking || conversation !== this.active) conversation.trim();
    // Who sends a message needn't be connected: a back end may send it in anybody's name.
    if (conversation.isPrivate && conversation.online === null) this.#lookWhoIsOnline();
    this.changed();
  }

  /** Puts a page of history above what is shown, or below `divider`. */
  prepend(conversation, messages, divider = null) {
    conversation.prepend(messages, divider);
    for (const { id, from } of messages) if (from === this.uid) this.outgoing.forget(id);
  }

  /** The channel's log was lost or purged: say so, and show what the new one holds already. */
  #restarted({ channel, epoch, offset }) {
    if (channel === `@${this.uid}`) this.history.restartInbox(epoch);
    for (const conversation of this.#shownIn(channel)) {
      conversation.epoch = epoch;
      conversation.more = false;
      const divider = conversation.divide(ANEW);
      if (conversation.isRoom && offset > 0) this.history.older(conversation, offset + 1, divider);
    }
    this.changed();
  }

  #divide(channel, text) {
    const lines = this.#shownIn(channel).map((conversation) => conversation.divide(text));
    this.changed();
    return lines.some((line) => line !== null);
  }

  #comeOrGo(room, uid, verb) {
    this.conversations.get(room)?.comeOrGo(uid, verb, uid !== this.uid);
    const line = this.conversations.get(`@${uid}`);
    if (line && verb === "joined") line.online = true;
    if (line && verb === "left") this.#lookWhoIsOnline();
    this.changed();
  }

  #error(error) {
    const { code, room, position, message } = error;
    if (room) {
      this.#remove(room);
      this.tell(notEntered(room, error));
    } else if (code !== "unreadable") {
      this.tell(message || code);
    } else if (!position || !this.#divide(position.channel, UNREADABLE)) {
      if (!this.#isUnreadableTold) this.tell("The server sent something that this page can't read.");
      this.#isUnreadableTold = true;
    }
  }

  // ---- Who is there -------------------------------------------------------------------------

  #look() {
    this.#lookWhoIsHere();
    this.#lookWhoIsOnline();
  }

  async #lookWhoIsHere() {
    const conversation = this.active;
    if (!conversation?.isRoom || !this.isConnected || document.hidden) return;
    try {
      const { users, users_total: total = users.length } = await this.client.who(conversation.key);
      conversation.sees(users, total);
      this.changed();
    } catch {
      // the panel stays as it is
    }
  }

  async #lookWhoIsOnline() {
    const lines = this.all().filter(({ isPrivate }) => isPrivate);
    if (lines.length === 0 || !this.isConnected || document.hidden) return;
    try {
      const online = await this.client.online(lines.map(({ name }) => name));
      for (const line of lines) line.online = Object.hasOwn(online, line.name) ? online[line.name] === true : null;
      this.changed();
    } catch {
      // the marks stay as they are
    }
  }

  // ---- What the user does -------------------------------------------------------------------

  async join(room) {
    const conversation = this.conversation(room);
    this.choose(room);
    if (conversation.loaded || this.client.rooms.includes(room)) return;
    try {
      const { epoch, offset } = await this.client.join(room, { timeout: Infinity });
      this.#rememberRooms();
      this.#lookWhoIsHere();
      await this.history.openRoom(conversation, epoch, offset);
    } catch (error) {
      this.#remove(room);
      this.tell(notEntered(room, error));
    }
  }

  async leave(conversation) {
    if (!conversation.isRoom) {
      conversation.closed = true;
      this.choose(this.inListOrder()[0]?.key ?? null);
      return;
    }
    this.#remove(conversation.key);
    try {
      await this.client.leave(conversation.key);
    } catch {
      // the next connection is without it
    }
  }

  say(conversation, id, text) {
    this.send(conversation, conversation.say(id, this.uid, text));
  }

  send(conversation, item) {
    conversation.unread = 0;
    conversation.firstUnread = null;
    this.outgoing.send(conversation.key, item);
    this.changed();
  }

  discard(conversation, item) {
    conversation.discard(item);
    this.outgoing.forget(item.id);
    this.changed();
  }

  /** Notes what stands in the field and isn't sent. */
  draft(conversation, text) {
    conversation.draft = text;
    if (text === "") this.#drafts.delete(conversation.key);
    else this.#drafts.set(conversation.key, text);
    session.set(`drafts.${this.uid}`, this.#drafts.size > 0 ? Object.fromEntries(this.#drafts) : null);
  }

  /** Makes a conversation the active one; null for none. */
  choose(key) {
    const next = key === null ? null : this.conversation(key);
    if (next) next.closed = false;
    if (this.active && this.active !== next) this.active.firstUnread = null;
    this.active = next;
    if (next) memory.set(`active.${this.uid}`, next.key);
    this.#lookWhoIsHere();
    if (next?.isPrivate) this.#lookWhoIsOnline();
    this.changed();
  }

  /** What is in view counts as read, here and (as an ack) on the server. */
  markRead() {
    const conversation = this.active;
    if (!conversation || !this.isLooking()) return;
    conversation.unread = 0;
    if (!conversation.newest) return;
    const { channel, epoch, offset } = conversation.newest;
    const known = this.#read.get(conversation.key);
    if (known?.epoch === epoch && known.offset >= offset) return;
    this.#read.set(conversation.key, { epoch, offset });
    memory.set(`read.${this.uid}`, Object.fromEntries(this.#read));
    this.client.ack(channel, offset);
  }

  #remove(key) {
    const isActive = this.active?.key === key;
    this.conversations.delete(key);
    this.#rememberRooms();
    if (!isActive) return this.changed();
    this.active = null;
    this.choose(this.inListOrder()[0]?.key ?? null);
  }

  #rememberRooms() {
    memory.set(`rooms.${this.uid}`, this.all().filter(({ isRoom }) => isRoom).map(({ key }) => key));
  }
}
