/**
 * What the page looks like: turns conversations into elements, and knows no network.
 *
 * Invariant: whatever a user wrote reaches the document as text only, never as markup.
 */

/** Messages of one author that are closer than this stand under one name. */
const GROUP_MS = 300_000;
const LINK = /https?:\/\/[^\s<>"']+/g;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** Finds an element of the page by its id. */
export const byId = (id) => document.getElementById(id);

/** Makes an element: properties, then children (text or elements). */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  const { attributes = {}, ...plain } = properties;
  Object.assign(element, plain);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Gives an element the initials and the colour of a user. */
export function paintAvatar(element, uid) {
  const words = uid.split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? words.slice(0, 2).map((word) => [...word][0]) : [...uid].slice(0, 2);
  element.textContent = letters.join("").toUpperCase();
  let hash = 7;
  for (const letter of uid) hash = (hash * 31 + letter.codePointAt(0)) % 9973;
  const hue = (hash * 47) % 360;
  element.style.setProperty("--hue", String(hue));
  // From yellow to cyan, white letters need a darker ground to be read (WCAG 1.4.3: 4.5 to 1).
  element.classList.toggle("bright", hue >= 43 && hue <= 188);
  return element;
}

function avatar(uid) {
  return paintAvatar(make("span", { className: "avatar", attributes: { "aria-hidden": "true" } }), uid);
}

/** Puts exactly these nodes into `parent`, in this order, and moves as few as it can. */
export function reconcile(parent, nodes) {
  let at = parent.firstChild;
  for (const node of nodes) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** A row of the list of conversations. */
export function placeRow(conversation, { active, isConnected, choose }) {
  const { key, name, unread, isRoom, isPrivate, online } = conversation;
  const sign = isPrivate ? avatar(name) : make("span", { className: "hash", attributes: { "aria-hidden": "true" } }, isRoom ? "#" : "!");
  if (isPrivate) markPresence(sign, isConnected ? online : null);
  const count = unread > 99 ? "99+" : String(unread);
  const badge = make("span", { className: "badge" }, count, make("span", { className: "sr" }, " unread"));
  const button = make(
    "button",
    { type: "button", className: "row", onclick: () => choose(key) },
    sign,
    make("span", { className: "label", dir: "auto" }, name),
    unread > 0 ? badge : null,
  );
  if (active) button.setAttribute("aria-current", "true");
  if (unread > 0) button.classList.add("unread");
  return make("li", {}, button);
}

/** The dot of a user: there, away, or not known (as always without a connection). */
function markPresence(sign, isOnline) {
  sign.classList.add(isOnline === null ? "unknown" : isOnline ? "online" : "away");
}

/** A row of the list of people. */
export function personRow(uid, { self, isConnected, choose }) {
  const label = make("span", { className: "label", dir: "auto" }, uid);
  const note = uid === self ? make("span", { className: "quiet" }, "you") : null;
  const title = uid === self ? "Write to yourself" : `Write to ${uid}`;
  const sign = avatar(uid);
  markPresence(sign, isConnected ? true : null);
  const button = make("button", { type: "button", className: "row", title, onclick: () => choose(`@${uid}`) }, sign, label, note);
  return make("li", {}, button);
}

/** The rows of a conversation's log; elements of earlier calls are used again where they fit. */
export class LogView {
  #rows = new WeakMap();
  #days = new Map();
  #newLine = line("new", "New");

  constructor({ self, open, retry, discard }) {
    Object.assign(this, { self, open, retry, discard });
  }

  rows(conversation) {
    const rows = [];
    let previous = null;
    let day = null;
    for (const item of [...conversation.items, ...conversation.outgoing]) {
      if (item.kind === "message") {
        const today = new Date(item.ts).toDateString();
        if (today !== day) rows.push(this.#day(today, item.ts));
        if (today !== day) previous = null;
        day = today;
      }
      if (item === conversation.firstUnread) {
        rows.push(this.#newLine);
        previous = null;
      }
      rows.push(this.#row(item, !follows(item, previous)));
      previous = item;
    }
    return rows;
  }

  #day(today, ts) {
    if (!this.#days.has(today)) this.#days.set(today, line("day", nameOfDay(ts)));
    return this.#days.get(today);
  }

  #row(item, first) {
    const looks = `${first} ${item.status} ${item.reason} ${item.comings?.map(({ uid, verb }) => uid + verb)}`;
    const known = this.#rows.get(item);
    if (known?.looks === looks) return known.row;
    const row = this.#draw(item, first);
    this.#rows.set(item, { looks, row });
    return row;
  }

  #draw(item, first) {
    if (item.kind === "divider") return line("anew", item.text);
    if (item.kind === "comings") {
      const said = item.comings.map(({ uid, verb }) => `${uid} ${verb}`).join(" · ");
      return make("li", { className: "comings", dir: "auto" }, said);
    }
    const own = item.from === this.self;
    const row = make("li", { className: `message ${own ? "own" : ""} ${first ? "first" : ""} ${item.status}` });
    if (!own) row.append(first ? avatar(item.from ?? "?") : make("span", { className: "avatar blank" }));
    const body = make("div", { className: "body" });
    if (first) body.append(this.#head(item, own));
    body.append(bubble(item));
    if (item.status === "failed") body.append(this.#failure(item));
    row.append(body);
    return row;
  }

  #head({ from, ts }, own) {
    const time = make("time", { dateTime: new Date(ts).toISOString(), title: exact.format(ts) }, clock.format(ts));
    if (own) return make("div", { className: "head" }, make("span", { className: "sr" }, "You, "), time);
    const name =
      from === null
        ? make("span", { className: "name" }, "unsigned")
        : make("button", { type: "button", className: "name", dir: "auto", title: `Write to ${from}`, onclick: () => this.open(`@${from}`) }, from);
    return make("div", { className: "head" }, name, time);
  }

  #failure(item) {
    return make(
      "div",
      { className: "failure" },
      make("span", {}, item.reason),
      make("button", { type: "button", onclick: () => this.retry(item) }, "Try again"),
      make("button", { type: "button", onclick: () => this.discard(item) }, "Discard"),
    );
  }
}

function follows(item, previous) {
  return (
    item.kind === "message" &&
    previous?.kind === "message" &&
    previous.from === item.from &&
    previous.status !== "failed" &&
    item.ts - previous.ts < GROUP_MS
  );
}

function line(kind, text) {
  return make("li", { className: `line ${kind}`, attributes: { role: "separator" } }, make("span", {}, text));
}

function nameOfDay(ts) {
  const days = Math.round((new Date().setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / 86_400_000);
  if (days === 0) return "Today";
  return days === 1 ? "Yesterday" : calendar.format(ts);
}

function bubble({ data, ts, status }) {
  const element = make("div", { className: "bubble", dir: "auto", title: exact.format(ts) });
  if (typeof data?.text === "string") element.append(...withLinks(data.text));
  else element.append(make("code", {}, JSON.stringify(data)));
  if (status === "pending") element.append(make("span", { className: "sr" }, " (on its way)"));
  return element;
}

/** Text with its web addresses as links; everything else stays text. */
function withLinks(text) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(LINK)) {
    const address = found.replace(/[.,;:!?)\]]+$/, "");
    if (!URL.canParse(address)) continue;
    parts.push(text.slice(end, index));
    parts.push(make("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow" }, address));
    end = index + address.length;
  }
  return [...parts, text.slice(end)];
}

/** Says something in passing. */
export function toast(text) {
  const element = make("div", { className: "toast", dir: "auto" }, text);
  byId("toasts").append(element);
  setTimeout(() => element.remove(), 6_000);
}
