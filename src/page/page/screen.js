/** Draws a chat, and follows the log as it grows; the chat itself is elsewhere. */
import { LogView, byId, paintAvatar, personRow, placeRow, reconcile } from "./view.js";
import { closeDrawers } from "./drawers.js";

/** Nearer to the end than this, the log follows what comes. */
const PINNED_PX = 60;

const app = byId("app");
const log = byId("log");
const live = byId("log-live");
const scroller = byId("log-scroll");
const text = byId("text");
const narrow = matchMedia("(max-width: 760px)");

export class Screen {
  #chat;
  #view;
  #drawn = null;
  #isDue = false;
  #isOver = false;
  /** The end of the log is in view, and stays there whatever comes. */
  isPinned = true;

  show(chat) {
    this.#chat = chat;
    chat.isLooking = () => !document.hidden && this.isPinned;
    this.#view = new LogView({
      self: chat.uid,
      open: (key) => this.open(key),
      retry: (item) => chat.send(chat.active, item),
      discard: (item) => chat.discard(chat.active, item),
    });
    byId("self-name").textContent = chat.uid;
    paintAvatar(byId("self-avatar"), chat.uid);
    this.#shown();
    this.draw();
  }

  end() {
    this.#isOver = true;
    for (const id of ["rooms", "direct", "log", "people-list"]) byId(id).replaceChildren();
  }

  /** Shows another conversation. */
  open(key) {
    closeDrawers();
    if (this.#chat.active?.key !== key) this.#chat.choose(key);
    this.#shown();
  }

  /** Shows the next conversation up or down the list. */
  step(by) {
    const keys = this.#chat.inListOrder().map(({ key }) => key);
    if (keys.length === 0) return;
    const at = keys.indexOf(this.#chat.active?.key);
    this.open(keys[(at + by + keys.length) % keys.length]);
  }

  /** Scrolls to the end, and stays there. */
  pin() {
    this.isPinned = true;
    this.draw();
  }

  scrolled() {
    const isPinned = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < PINNED_PX;
    if (isPinned !== this.isPinned) {
      this.isPinned = isPinned;
      this.draw();
    }
    if (scroller.scrollTop < 120) this.#loadOlder();
  }

  resized() {
    if (this.isPinned) scroller.scrollTop = scroller.scrollHeight;
  }

  /** Draws everything anew with the next frame, however often it is called until then. */
  draw() {
    if (this.#isDue) return;
    this.#isDue = true;
    // A hidden page gets no frames, but its title shall count.
    if (document.hidden) setTimeout(() => this.#draw());
    else requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#isDue = false;
    if (this.#isOver || !this.#chat) return;
    if (this.#chat.active !== this.#drawn) this.#shown();
    this.#chat.markRead();
    this.#drawPlaces();
    this.#drawHead();
    this.#drawLog();
    this.#drawPeople();
  }

  /** Another conversation is in front than was drawn last. */
  #shown() {
    const { active } = this.#chat;
    if (active !== this.#drawn) {
      this.#drawn = active;
      this.isPinned = true;
      text.value = active?.draft ?? "";
      // A whole conversation that appears is no news to be read out.
      live.setAttribute("aria-live", "off");
      setTimeout(() => live.setAttribute("aria-live", "polite"), 500);
    }
    this.draw();
    fitText();
    if (!narrow.matches) text.focus();
  }

  #loadOlder() {
    if (this.#chat.active) this.#chat.history.scrolledUp(this.#chat.active);
  }

  #drawPlaces() {
    const { active, isConnected } = this.#chat;
    const all = this.#chat.inListOrder();
    const choose = (key) => this.open(key);
    const row = (one) => placeRow(one, { active: one === active, isConnected, choose });
    for (const [id, rows] of [
      ["rooms", all.filter(({ isRoom }) => isRoom)],
      ["direct", all.filter(({ isRoom }) => !isRoom)],
    ]) {
      const looks = (one) => `${one.key} ${one.unread} ${isConnected && one.online} ${one === active}`;
      redrawList(byId(id), rows.map((one) => [looks(one), () => row(one)]));
    }
    byId("direct-empty").hidden = all.some(({ isRoom }) => !isRoom);
    const unread = all.reduce((sum, one) => sum + one.unread, 0);
    byId("elsewhere").hidden = !all.some((one) => one !== active && one.unread > 0);
    const title = active ? `${active.isRoom ? "#" : ""}${active.name} · tidings` : "tidings";
    document.title = unread > 0 ? `(${unread}) ${title}` : title;
  }

  #drawHead() {
    const { active, isConnected } = this.#chat;
    byId("talk-title").textContent = active ? `${active.isRoom ? "# " : ""}${active.name}` : "No conversation";
    byId("talk-note").textContent = note(active, isConnected);
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
    const { active, history } = this.#chat;
    const inView = this.isPinned ? [] : rowsInView();
    reconcile(log, active ? this.#view.rows(active) : []);
    const more = active !== null && history.hasMore(active);
    byId("log-top").textContent = topOf(active, more, this.#chat.isConnected);
    byId("log-top").classList.toggle("empty", log.childElementCount === 0);
    if (this.isPinned) scroller.scrollTop = scroller.scrollHeight;
    else keepInView(inView);
    const unread = active?.unread ?? 0;
    byId("jump").hidden = this.isPinned;
    byId("jump-text").textContent = unread > 0 ? `${unread} new` : "Latest";
    const short = scroller.scrollHeight <= scroller.clientHeight + 1;
    if (short && more && !active.loading) this.#loadOlder();
  }

  #drawPeople() {
    const { active, isConnected, uid } = this.#chat;
    const people = [...(active?.people ?? [])].sort((a, b) => a.localeCompare(b));
    const person = { self: uid, isConnected, choose: (key) => this.open(key) };
    redrawList(byId("people-list"), people.map((one) => [`${one} ${isConnected}`, () => personRow(one, person)]));
    const title = isConnected ? "Who is here" : "Who was here";
    byId("people-title").textContent = people.length > 0 ? `${title} · ${active.peopleTotal}` : title;
    const unlisted = people.length > 0 ? active.peopleTotal - people.length : 0;
    byId("people-more").hidden = unlisted === 0;
    byId("people-more").textContent = `and ${unlisted} more who aren't listed`;
  }
}

function note(active, isConnected) {
  if (!active || active.isNotices) return "";
  if (!isConnected) return "not connected";
  if (active.isPrivate) return active.online === null ? "" : active.online ? "online" : "offline";
  if (!active.people) return "";
  return active.peopleTotal === 1 ? "only you are here" : `${active.peopleTotal} people here`;
}

function topOf(active, more, isConnected) {
  if (!active) return "Join a room to begin.";
  if (active.loading) return "Loading…";
  if (more) return "";
  if (active.isPrivate) return `Only you and ${active.name} see this conversation.`;
  const empty = active.items.length + active.outgoing.length === 0;
  if (!empty && active.isRoom && active.oldestOffset === 1) return `This is where #${active.name} begins.`;
  if (!empty) return "Nothing older is kept.";
  if (active.isNotices) return "No notices.";
  // An empty log proves nothing before the server has been asked.
  if (!active.loaded || !isConnected) return "";
  return "Nothing has been said yet. Say hello!";
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

/** Makes the field as high as what stands in it. */
export function fitText() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}
