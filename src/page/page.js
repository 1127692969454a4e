/**
 * The chat page: brings the client, the conversations and their looks together.
 *
 * The address may name a room (`?room=tea`) and carry a token (`#token=…`), which is taken out of
 * it at once.
 */
import { Client, makeId } from "./client.js";
import { Conversation } from "./conversation.js";
import { LogView, byId, paintAvatar, personRow, placeRow, reconcile, toast } from "./view.js";

const HISTORY_PAGE = 50;
const INBOX_PAGE = 100;
/** Pages of the inbox that one scroll up may read to find something of this conversation. */
const INBOX_PAGES_MAX = 5;
const ONLINE_EVERY_MS = 30_000;
/** Nearer to the end than this, the log follows what comes. */
const PINNED_PX = 60;
const ANEW = "History began anew";

/** What the browser remembers; without a storage (private windows) the page only forgets more. */
const memory = {
  get(name, missing) {
    try {
      return JSON.parse(localStorage.getItem(`tidings.${name}`)) ?? missing;
    } catch {
      return missing;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`tidings.${name}`, JSON.stringify(value));
    } catch {
      // nothing is lost but the memory
    }
  },
};
const session = {
  get: (name) => {
    try {
      return sessionStorage.getItem(`tidings.${name}`);
    } catch {
      return null;
    }
  },
  set: (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(`tidings.${name}`);
      else sessionStorage.setItem(`tidings.${name}`, value);
    } catch {
      // as above
    }
  },
};

const app = byId("app");
const log = byId("log");
const scroller = byId("log-scroll");
const text = byId("text");
const narrow = matchMedia("(max-width: 760px)");

class Page {
  conversations = new Map();
  active = null;
  /** The history of one's own channel, from which all private conversations are made. */
  inbox = { epoch: null, oldest: 0, more: false, loaded: false };
  /** Conversation → `{ epoch, offset }` of what was looked at last. */
  read;
  pinned = true;
  #renderDue = false;
  #countdown = null;
  #retryAt = 0;

  constructor(uid, token) {
    this.uid = uid;
    this.read = new Map(Object.entries(memory.get(`read.${uid}`, {})));
    const asked = new URLSearchParams(location.search).getAll("room").filter(Boolean);
    const rooms = [...new Set([...memory.get("rooms", ["lobby"]), ...asked])];
    this.client = new Client({ uid, token, rooms });
    this.view = new LogView({
      self: uid,
      open: (key) => this.show(key),
      retry: (item) => this.send(this.active, item),
      discard: (item) => {
        this.active.discard(item);
        this.render();
      },
    });
    for (const room of rooms) this.conversation(room);
    this.#listen();
    const last = memory.get("active", null);
    this.show(asked[0] ?? (this.conversations.has(last) ? last : (rooms[0] ?? null)));
    this.client.connect();
  }

  /** The conversation of that key, made when there is none yet. */
  conversation(key) {
    if (!this.conversations.has(key)) this.conversations.set(key, new Conversation(key));
    return this.conversations.get(key);
  }

  #listen() {
    const { client } = this;
    client.on("login", ({ channels }) => this.#loggedIn(channels));
    client.on("message", (message) => this.#receive(message));
    client.on("restarted", (hole) => this.#anew(hole));
    client.on("gap", ({ channel }) => {
      for (const one of this.#shownIn(channel)) one.divide("Some messages are no longer kept");
      this.render();
    });
    client.on("joined", ({ room, uid }) => this.#comeOrGo(room, uid, "joined"));
    client.on("left", ({ room, uid }) => this.#comeOrGo(room, uid, "left"));
    client.on("state", (change) => this.#state(change));
    client.on("error", (error) => this.#error(error));
    this.onlineTimer = setInterval(() => this.#lookWhoIsOnline(), ONLINE_EVERY_MS);
  }

  /** The conversations in which a channel's messages stand. */
  #shownIn(channel) {
    const all = [...this.conversations.values()];
    if (channel === `@${this.uid}`) return all.filter(({ isPrivate }) => isPrivate);
    return all.filter(({ key }) => key === channel);
  }

  // ---- What comes from the server -----------------------------------------------------------

  #loggedIn(channels) {
    for (const [channel, { epoch, offset }] of Object.entries(channels)) {
      if (channel === `@${this.uid}`) this.#openInbox(epoch, offset);
      else if (channel !== "*") this.#openRoom(this.conversation(channel), epoch, offset);
    }
    for (const conversation of this.conversations.values()) {
      conversation.returning = new Set(conversation.people ?? []);
      conversation.people = null;
    }
    this.#rememberRooms();
    this.#lookWhoIsHere();
    this.#lookWhoIsOnline();
    this.render();
  }

  async #openRoom(conversation, epoch, offset) {
    if (conversation.loaded) return;
    conversation.loaded = true;
    conversation.epoch = epoch;
    conversation.more = offset > 0;
    await this.#older(conversation, offset + 1);
    this.#countUnread(conversation);
  }

  async #openInbox(epoch, offset) {
    if (this.inbox.loaded) return;
    this.inbox = { epoch, oldest: offset + 1, more: offset > 0, loaded: true };
    await this.#olderInbox();
    for (const conversation of this.conversations.values()) {
      if (conversation.isPrivate) this.#countUnread(conversation);
    }
    this.#lookWhoIsOnline();
  }

  /** After a reload: what stands in the history and wasn't looked at before. */
  #countUnread(conversation) {
    const read = this.read.get(conversation.key);
    if (!read || conversation === this.active) return;
    const unread = conversation.items.filter(
      ({ epoch, offset, from }) => epoch === read.epoch && offset > read.offset && from !== this.uid,
    );
    conversation.unread = unread.length;
    conversation.firstUnread = unread[0] ?? null;
    this.render();
  }

  #keyOf({ channel, from, to }) {
    if (channel !== `@${this.uid}`) return channel;
    if (from === null) return "*";
    return `@${from === this.uid ? (to ?? from) : from}`;
  }

  #receive(message) {
    const conversation = this.conversation(this.#keyOf(message));
    const item = conversation.receive(message);
    if (!item) return;
    if (!conversation.isPrivate && message.epoch) conversation.epoch = message.epoch;
    if (message.from !== this.uid && !(conversation === this.active && this.#looking())) {
      if (conversation.unread === 0) conversation.firstUnread = item;
      conversation.unread += 1;
    }
    if (this.pinned || conversation !== this.active) conversation.trim();
    if (conversation.isPrivate) conversation.online ||= message.from !== this.uid;
    this.render();
  }

  /** The channel's log was lost or purged: say so, and show what the new one holds already. */
  async #anew({ channel, epoch, offset }) {
    if (channel === `@${this.uid}`) this.inbox = { epoch, oldest: 0, more: false, loaded: true };
    for (const conversation of this.#shownIn(channel)) {
      conversation.epoch = epoch;
      conversation.more = false;
      const divider = conversation.divide(ANEW);
      if (conversation.isRoom && offset > 0) this.#older(conversation, offset + 1, divider);
    }
    this.render();
  }

  #comeOrGo(room, uid, verb) {
    const conversation = this.conversations.get(room);
    if (!conversation) return;
    const here = new Set(conversation.people ?? []);
    const news = !conversation.returning.delete(uid);
    if (verb === "joined") here.add(uid);
    else here.delete(uid);
    if (conversation.people) conversation.people = [...here];
    if (news && uid !== this.uid) conversation.comeOrGo(uid, verb);
    const line = this.conversations.get(`@${uid}`);
    if (line && verb === "joined") line.online = true;
    if (line && verb === "left") this.#lookWhoIsOnline();
    this.render();
  }

  #error({ room, code, message }) {
    if (room) {
      this.#remove(room);
      toast(`#${room}: ${message || code}`);
    } else {
      toast(message || code);
    }
  }

  // ---- Asking the server --------------------------------------------------------------------

  /** Fetches what was said in a room before `before`. */
  async #older(conversation, before, divider = null) {
    if (before <= 1 || conversation.loading) return;
    const { epoch, key } = conversation;
    conversation.loading = true;
    this.render();
    try {
      const page = await this.client.history(key, { before, limit: HISTORY_PAGE });
      if (page.epoch !== epoch || conversation.epoch !== epoch) return;
      conversation.prepend(inOrder(page.messages), divider);
      if (!divider) conversation.more = page.more;
    } catch {
      // scrolling up asks again
    } finally {
      conversation.loading = false;
      this.render();
    }
  }

  /** Fetches a page of the inbox; true when it holds something of `wanted`. */
  async #olderInbox(wanted = null) {
    const { epoch, oldest } = this.inbox;
    if (!this.inbox.more) return false;
    const page = await this.client.history(`@${this.uid}`, { before: oldest, limit: INBOX_PAGE });
    if (page.epoch !== epoch || this.inbox.epoch !== epoch) return false;
    const pages = new Map();
    for (const message of inOrder(page.messages)) {
      const key = this.#keyOf(message);
      pages.set(key, [...(pages.get(key) ?? []), message]);
      this.inbox.oldest = Math.min(this.inbox.oldest, message.offset);
    }
    this.inbox.more = page.more && page.messages.length > 0;
    for (const [key, messages] of pages) {
      const conversation = this.conversation(key);
      conversation.epoch = epoch;
      conversation.prepend(messages);
    }
    this.render();
    return pages.has(wanted);
  }

  async loadOlder() {
    const conversation = this.active;
    if (!conversation || conversation.loading || this.client.state !== "online") return;
    if (conversation.isRoom && conversation.more) {
      const before = conversation.oldestOffset;
      if (before === null) conversation.more = false;
      else await this.#older(conversation, before);
    } else if (conversation.isPrivate && this.inbox.more) {
      conversation.loading = true;
      this.render();
      try {
        for (let n = 0; n < INBOX_PAGES_MAX; n++) {
          if (await this.#olderInbox(conversation.key)) break;
        }
      } catch {
        // scrolling up asks again
      }
      conversation.loading = false;
      this.render();
    }
  }

  async #lookWhoIsHere() {
    const conversation = this.active;
    if (!conversation?.isRoom || this.client.state !== "online") return;
    try {
      const { users } = await this.client.who(conversation.key);
      conversation.people = users.map((user) => String(user?.uid ?? user));
      this.render();
    } catch {
      // the panel stays as it is
    }
  }

  async #lookWhoIsOnline() {
    const lines = [...this.conversations.values()].filter(({ isPrivate }) => isPrivate);
    if (lines.length === 0 || this.client.state !== "online" || document.hidden) return;
    try {
      const online = await this.client.online(lines.map(({ name }) => name));
      for (const line of lines) line.online = Object.hasOwn(online, line.name) && online[line.name];
      this.render();
    } catch {
      // the marks stay as they are
    }
  }

  async join(room) {
    const conversation = this.conversation(room);
    this.show(room);
    if (conversation.loaded || this.client.rooms.includes(room)) return;
    try {
      const { epoch, offset } = await this.client.join(room);
      this.#rememberRooms();
      this.#lookWhoIsHere();
      await this.#openRoom(conversation, epoch, offset);
    } catch ({ code, message }) {
      this.#remove(room);
      toast(`#${room}: ${message || code}`);
    }
  }

  async leave(conversation) {
    if (!conversation.isRoom) {
      conversation.closed = true;
      this.show(this.#inListOrder()[0]?.key ?? null);
      return;
    }
    this.#remove(conversation.key);
    try {
      await this.client.leave(conversation.key);
    } catch {
      // the next connection is without it
    }
  }

  async send(conversation, item) {
    Object.assign(item, { status: "pending", reason: undefined });
    this.pinned = true;
    conversation.unread = 0;
    conversation.firstUnread = null;
    this.render();
    try {
      await this.client.say(conversation.key, item.data, { id: item.id });
      // It may have been heard already; otherwise it stays where it is until it is.
      item.status = "sent";
    } catch ({ code, message }) {
      const reason = code === "timeout" ? "the server didn't answer" : message || code;
      Object.assign(item, { status: "failed", reason });
    }
    this.render();
  }

  // ---- Conversations ------------------------------------------------------------------------

  show(key) {
    const next = key === null ? null : this.conversation(key);
    if (next) next.closed = false;
    if (this.active && this.active !== next) {
      this.active.draft = text.value;
      this.active.firstUnread = null;
    }
    closeDrawers();
    if (this.active !== next) {
      this.active = next;
      this.pinned = true;
      text.value = next?.draft ?? "";
      // A whole conversation that appears is no news to be read out.
      log.setAttribute("aria-live", "off");
      setTimeout(() => log.setAttribute("aria-live", "polite"), 500);
      if (next) memory.set("active", next.key);
    }
    this.#lookWhoIsHere();
    if (next?.isPrivate) this.#lookWhoIsOnline();
    this.render();
    fitText();
    if (!narrow.matches) text.focus();
  }

  /** Shows the next conversation up or down the list. */
  step(by) {
    const keys = this.#inListOrder().map(({ key }) => key);
    if (keys.length === 0) return;
    const at = keys.indexOf(this.active?.key);
    this.show(keys[(at + by + keys.length) % keys.length]);
  }

  #remove(key) {
    this.conversations.delete(key);
    this.#rememberRooms();
    if (this.active?.key !== key) return this.render();
    this.active = null;
    text.value = "";
    this.show(this.#inListOrder()[0]?.key ?? null);
  }

  #rememberRooms() {
    const rooms = [...this.conversations.values()].filter(({ isRoom }) => isRoom);
    memory.set("rooms", rooms.map(({ key }) => key));
  }

  #inListOrder() {
    const all = [...this.conversations.values()].filter(({ closed }) => !closed);
    return [...all.filter(({ isRoom }) => isRoom), ...all.filter(({ isRoom }) => !isRoom)];
  }

  #looking() {
    return !document.hidden && this.pinned;
  }

  /** What is in view counts as read, here and (as an ack) on the server. */
  markRead() {
    const conversation = this.active;
    if (!conversation || !this.#looking()) return;
    conversation.unread = 0;
    if (!conversation.newest) return;
    const { channel, epoch, offset } = conversation.newest;
    const known = this.read.get(conversation.key);
    if (known?.epoch === epoch && known.offset >= offset) return;
    this.read.set(conversation.key, { epoch, offset });
    memory.set(`read.${this.uid}`, Object.fromEntries(this.read));
    this.client.ack(channel, offset);
  }

  // ---- Drawing ------------------------------------------------------------------------------

  /** Draws everything anew with the next frame, however often it is called until then. */
  render() {
    if (this.#renderDue) return;
    this.#renderDue = true;
    // A hidden page gets no frames, but its title shall count.
    if (document.hidden) setTimeout(() => this.#draw());
    else requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#renderDue = false;
    this.markRead();
    this.#drawPlaces();
    this.#drawHead();
    this.#drawLog();
    this.#drawPeople();
  }

  #drawPlaces() {
    const all = this.#inListOrder();
    const row = (one) => placeRow(one, one === this.active, (key) => this.show(key));
    for (const [id, rows] of [
      ["rooms", all.filter(({ isRoom }) => isRoom)],
      ["direct", all.filter(({ isRoom }) => !isRoom)],
    ]) {
      redrawList(byId(id), rows.map((one) => [`${one.key} ${one.unread} ${one.online} ${one === this.active}`, () => row(one)]));
    }
    byId("direct-empty").hidden = all.some(({ isRoom }) => !isRoom);
    const unread = all.reduce((sum, one) => sum + one.unread, 0);
    byId("elsewhere").hidden = !all.some((one) => one !== this.active && one.unread > 0);
    const title = this.active ? `${this.active.isRoom ? "#" : ""}${this.active.name} · tidings` : "tidings";
    document.title = unread > 0 ? `(${unread}) ${title}` : title;
  }

  #drawHead() {
    const { active } = this;
    byId("talk-title").textContent = active ? `${active.isRoom ? "# " : ""}${active.name}` : "No conversation";
    byId("talk-note").textContent = note(active);
    byId("open-people").hidden = !active?.isRoom;
    app.classList.toggle("alone", !active?.isRoom);
    const leave = byId("leave");
    leave.hidden = !active;
    leave.textContent = active?.isRoom ? "Leave" : "Close";
    leave.title = active?.isRoom ? "Leave the room" : "Close the conversation";
    leave.setAttribute("aria-label", leave.title);
    const silent = !active || active.isNotices;
    text.disabled = byId("send").disabled = silent;
    text.placeholder = silent ? "Nothing can be said here" : `Message ${active.isRoom ? "#" : ""}${active.name}`;
  }

  #drawLog() {
    const { active } = this;
    const inView = this.pinned ? [] : rowsInView();
    reconcile(log, active ? this.view.rows(active) : []);
    const more = active?.isPrivate ? this.inbox.more : active?.more;
    byId("log-top").textContent = topOf(active, more);
    byId("log-top").classList.toggle("empty", log.childElementCount === 0);
    if (this.pinned) scroller.scrollTop = scroller.scrollHeight;
    else keepInView(inView);
    const unread = active?.unread ?? 0;
    byId("jump").hidden = this.pinned;
    byId("jump-text").textContent = unread > 0 ? `${unread} new` : "Latest";
    const short = scroller.scrollHeight <= scroller.clientHeight + 1;
    if (short && more && !active.loading) this.loadOlder();
  }

  #drawPeople() {
    const people = [...(this.active?.people ?? [])].sort((a, b) => a.localeCompare(b));
    const rows = people.map((uid) => [uid, () => personRow(uid, this.uid, (key) => this.show(key))]);
    redrawList(byId("people-list"), rows);
    byId("people-title").textContent = people.length > 0 ? `Who is here · ${people.length}` : "Who is here";
  }

  // ---- The connection -----------------------------------------------------------------------

  #state({ state, delay, error }) {
    clearInterval(this.#countdown);
    const names = { connecting: "Connecting", online: "Connected", waiting: "Reconnecting", closed: "Disconnected" };
    const connection = byId("connection");
    connection.textContent = names[state] ?? state;
    connection.dataset.state = state;
    if (state === "online") banner(null);
    if (state === "waiting") {
      this.#retryAt = Date.now() + delay;
      this.#countdown = setInterval(() => this.#countDown(), 1_000);
      this.#countDown();
    }
    if (state === "closed" && error.code !== "closed") this.#closed(error);
  }

  #countDown() {
    const seconds = Math.ceil((this.#retryAt - Date.now()) / 1_000);
    const when = seconds > 1 ? `Next try in ${seconds} s.` : "Trying again.";
    banner(`The connection is gone. ${when} What you write is kept.`, "Try now", () => this.client.wake());
  }

  #closed(error) {
    if (error.code === "unauthorized") {
      this.end();
      enterAgain(error.message);
      return;
    }
    const reasons = { replaced: "You came in from too many other places.", kicked: "You were asked to leave." };
    const reason = reasons[error.code] ?? "The server closed this connection.";
    banner(`${reason} ${error.message}`.trim(), "Come back", () => this.client.connect());
  }

  end() {
    clearInterval(this.#countdown);
    clearInterval(this.onlineTimer);
    this.client.close();
    banner(null);
  }
}

// ---- Small pieces ---------------------------------------------------------------------------

function inOrder(messages) {
  return [...messages].sort((a, b) => a.offset - b.offset);
}

function note(active) {
  if (!active || active.isNotices) return "";
  if (active.isPrivate) return active.online ? "online" : "offline";
  if (!active.people) return "";
  return active.people.length === 1 ? "only you are here" : `${active.people.length} people here`;
}

function topOf(active, more) {
  if (!active) return "Join a room to begin.";
  if (active.loading) return "Loading…";
  if (more) return "";
  if (active.isPrivate) return `Only you and ${active.name} read this.`;
  const empty = active.items.length + active.outgoing.length === 0;
  if (!empty && active.isRoom && active.oldestOffset === 1) return `This is where #${active.name} begins.`;
  if (!empty) return "Nothing older is kept.";
  return active.isNotices ? "No notices." : "Nothing has been said yet. Say hello!";
}

const looksOf = new WeakMap();

/** Replaces a list's rows where they changed, and leaves the others (and the focus) alone. */
function redrawList(list, rows) {
  const known = new Map([...list.children].map((child) => [looksOf.get(child), child]));
  const nodes = rows.map(([looks, draw]) => {
    if (known.has(looks)) return known.get(looks);
    const node = draw();
    looksOf.set(node, looks);
    return node;
  });
  const focused = [...list.children].findIndex((child) => child.contains(document.activeElement));
  reconcile(list, nodes);
  if (focused >= 0 && !list.contains(document.activeElement)) {
    list.children[Math.min(focused, list.children.length - 1)]?.querySelector("button").focus();
  }
}

function rowsInView() {
  const { top, bottom } = scroller.getBoundingClientRect();
  // Only what was said stays where it is among its neighbours: the line of a day moves up.
  return [...log.querySelectorAll(".message")]
    .map((row) => ({ row, box: row.getBoundingClientRect() }))
    .filter(({ box }) => box.bottom > top && box.top < bottom)
    .map(({ row, box }) => ({ row, top: box.top }));
}

/** Scrolls so that what was in view is where it was, whatever came above it. */
function keepInView(rows) {
  // A row may have been drawn anew meanwhile; its neighbour will do.
  const kept = rows.find(({ row }) => row.isConnected);
  if (kept) scroller.scrollTop += kept.row.getBoundingClientRect().top - kept.top;
}

function banner(message, action, act) {
  byId("banner").hidden = message === null;
  if (message === null) return;
  if (byId("banner-text").textContent !== message) byId("banner-text").textContent = message;
  byId("banner-act").textContent = action;
  byId("banner-act").onclick = act;
}

function fitText() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

const drawers = [
  { panel: byId("places"), opener: byId("open-places") },
  { panel: byId("people"), opener: byId("open-people") },
];

function openDrawer({ panel, opener }) {
  closeDrawers();
  app.dataset.drawer = panel.id;
  opener.setAttribute("aria-expanded", "true");
  document.querySelector(".talk").inert = true;
  panel.querySelector(".close-drawer").focus();
}

function closeDrawers() {
  const open = drawers.find(({ panel }) => panel.id === app.dataset.drawer);
  if (!open) return;
  delete app.dataset.drawer;
  open.opener.setAttribute("aria-expanded", "false");
  document.querySelector(".talk").inert = false;
  open.opener.focus();
}

// ---- The document ---------------------------------------------------------------------------

let page = null;

function enter(name, token) {
  memory.set("name", name);
  session.set("in", name);
  session.set("token", token || null);
  byId("entry").hidden = true;
  byId("entry-error").hidden = true;
  app.hidden = false;
  byId("self-name").textContent = name;
  paintAvatar(byId("self-avatar"), name);
  page = new Page(name, token || undefined);
}

function enterAgain(message) {
  page = null;
  session.set("in", null);
  session.set("token", null);
  app.hidden = true;
  byId("entry").hidden = false;
  document.title = "tidings";
  byId("entry-error").hidden = !message;
  byId("entry-error").textContent = message ? `The server said no: ${message}` : "";
  if (message) byId("entry-token-field").hidden = false;
  byId("entry-name").focus();
}

function submitText() {
  const said = text.value.trim();
  if (!page?.active || said === "" || text.disabled) return;
  text.value = "";
  fitText();
  page.send(page.active, page.active.say(makeId(), page.uid, said));
}

byId("entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = byId("entry-name").value.trim();
  if (name !== "") enter(name, byId("entry-token").value.trim());
});
byId("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("room-name");
  const room = field.value.trim().replace(/^#\s*/, "");
  if (room === "") return;
  if (/^[@*]/.test(room)) return toast("A room's name starts with neither @ nor *.");
  field.value = "";
  page.join(room);
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submitText();
  text.focus();
});
text.addEventListener("keydown", (event) => {
  // An Enter that ends the composition of a character sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submitText();
});
text.addEventListener("input", fitText);
document.addEventListener("keydown", (event) => {
  if (!page) return;
  if (event.key === "Escape") closeDrawers();
  if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
  event.preventDefault();
  page.step(event.key === "ArrowUp" ? -1 : 1);
});
scroller.addEventListener("scroll", () => {
  if (!page) return;
  const pinned = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < PINNED_PX;
  if (pinned !== page.pinned) {
    page.pinned = pinned;
    page.render();
  }
  if (scroller.scrollTop < 120) page.loadOlder();
});
new ResizeObserver(() => {
  if (page?.pinned) scroller.scrollTop = scroller.scrollHeight;
}).observe(scroller);
document.addEventListener("visibilitychange", () => page?.render());
byId("jump").addEventListener("click", () => {
  page.pinned = true;
  page.render();
});
byId("leave").addEventListener("click", () => page.leave(page.active));
byId("sign-out").addEventListener("click", () => {
  page.end();
  enterAgain(null);
});
for (const drawer of drawers) {
  drawer.opener.addEventListener("click", () => openDrawer(drawer));
  drawer.panel.querySelector(".close-drawer").addEventListener("click", closeDrawers);
}
byId("scrim").addEventListener("click", closeDrawers);

const handed = new URLSearchParams(location.hash.slice(1)).get("token");
if (handed) {
  history.replaceState(null, "", location.pathname + location.search);
  byId("entry-token-field").hidden = false;
  byId("entry-token").value = handed;
}
byId("entry-name").value = memory.get("name", "");
const inside = session.get("in");
if (inside && !handed) enter(inside, session.get("token"));
else byId("entry-name").focus();
