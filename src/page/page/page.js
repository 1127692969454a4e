/**
 * The chat page: brings the form, the client, the conversations and their looks together.
 *
 * The address may name a room (`?room=tea`) and carry a token (`#token=…`), which is taken out of
 * it at once.
 */
import { Client, makeId } from "./client.js";
import { Banner } from "./banner.js";
import { Chat } from "./chat.js";
import { Screen, fitText } from "./screen.js";
import { byId, toast } from "./view.js";
import { closeDrawers } from "./drawers.js";
import { hideEntry, listenToEntry, setBusy, showEntry } from "./entry.js";
import { memory, session } from "./memory.js";
import { readToken } from "./token.js";

const scroller = byId("log-scroll");
const text = byId("text");

/** One stay: from the form to the way out. */
class Stay {
  chat = null;
  screen = new Screen();
  #credentials;
  #client;
  #banner;
  #rooms;
  #asked;

  constructor({ name, token }) {
    this.#credentials = { name, token };
    const known = token ? readToken(token) : { uid: name, rooms: ["lobby"] };
    const asked = new URLSearchParams(location.search).getAll("room").filter((room) => /^[^@*]/.test(room));
    this.#asked = asked[0] ?? null;
    this.#rooms = [...new Set([...memory.get(`rooms.${name || known.uid}`, known.rooms), ...asked])];
    this.#client = new Client({ uid: name || undefined, token: token || undefined, rooms: this.#rooms });
    this.#banner = new Banner(this.#client);
    this.#client.on("state", (change) => (this.chat ? this.#state(change) : this.#entering(change)));
    this.#client.on("login", ({ channels }) => this.#loggedIn(channels));
    setBusy("Entering…");
    this.#client.connect();
  }

  /** Before the first login, the form says how it stands. */
  #entering({ state, error }) {
    if (state === "waiting") setBusy("The server can't be reached just now. Trying again…");
    if (state === "closed") this.#leave(error.code === "closed" ? null : error);
  }

  #loggedIn(channels) {
    if (!this.chat) this.#come(channels);
    this.chat.loggedIn(channels);
  }

  #come(channels) {
    const { name, token } = this.#credentials;
    if (name) memory.set("name", name);
    session.set("in", { name, token });
    hideEntry();
    this.chat = new Chat({
      client: this.#client,
      rooms: this.#rooms.filter((room) => this.#client.rooms.includes(room) || Object.hasOwn(channels, room)),
      asked: this.#client.rooms.includes(this.#asked) ? this.#asked : null,
      changed: () => this.screen.draw(),
      tell: toast,
    });
    this.screen.show(this.chat);
    this.#banner.show({ state: "online" });
  }

  #state(change) {
    const { state, error } = change;
    if (state === "closed" && error.code === "closed") return;
    // A login that was refused leads back to the form; whoever was thrown out may come back.
    const isRefused = state === "closed" && (error.code === "unauthorized" || error.closeCode === 0);
    if (isRefused) this.#leave(error);
    else this.#banner.show(change, this.chat.outgoing.isKept);
    this.screen.draw();
  }

  /** Signs out: nothing of the user stays in this tab. */
  signOut() {
    this.chat.forgetSession();
    this.#leave(null);
  }

  cancel() {
    this.#client.close();
  }

  #leave(refusal) {
    stay = null;
    session.set("in", null);
    this.chat?.end();
    this.screen.end();
    this.#banner.hide();
    closeDrawers();
    const { name, token } = this.#credentials;
    showEntry({ refusal, credentials: refusal ? { name, token } : {} });
  }
}

/** @type {Stay | null} */
let stay = null;
const enter = (credentials) => {
  stay = new Stay(credentials);
};

function submitText() {
  const said = text.value.trim();
  const chat = stay?.chat;
  if (!chat?.active || said === "" || text.disabled) return;
  text.value = "";
  fitText();
  chat.draft(chat.active, "");
  stay.screen.isPinned = true;
  chat.say(chat.active, makeId(), said);
}

listenToEntry({ enter, cancel: () => stay?.cancel() });
byId("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("room-name");
  const room = field.value.trim().replace(/^#\s*/, "");
  if (room === "") return;
  if (/^[@*]/.test(room)) return toast("A room's name starts with neither @ nor *.");
  field.value = "";
  closeDrawers();
  stay.chat.join(room);
});
byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  submitText();
  text.focus();
});
text.addEventListener("keydown", (event) => {
  // Enter that ends the composition of a character sends nothing.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submitText();
});
text.addEventListener("input", () => {
  fitText();
  if (stay?.chat?.active) stay.chat.draft(stay.chat.active, text.value);
});
document.addEventListener("keydown", (event) => {
  if (!stay?.chat) return;
  if (event.key === "Escape") closeDrawers();
  if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
  event.preventDefault();
  stay.screen.step(event.key === "ArrowUp" ? -1 : 1);
});
scroller.addEventListener("scroll", () => stay?.chat && stay.screen.scrolled());
new ResizeObserver(() => stay?.chat && stay.screen.resized()).observe(scroller);
document.addEventListener("visibilitychange", () => stay?.screen.draw());
byId("jump").addEventListener("click", () => stay.screen.pin());
byId("leave").addEventListener("click", () => stay.chat.leave(stay.chat.active));
byId("sign-out").addEventListener("click", () => stay.signOut());

const handed = new URLSearchParams(location.hash.slice(1)).get("token");
if (handed) history.replaceState(null, "", location.pathname + location.search);
const inside = handed ? { name: "", token: handed } : session.get("in", null);
if (inside) enter(inside);
else showEntry();
