/** What the page says of its connection: a word under the name, and a banner while it is gone. */
import { byId } from "./view.js";
import { ended, lost } from "./words.js";

const NAMES = { connecting: "Connecting", online: "Connected", waiting: "Reconnecting", closed: "Disconnected" };

export class Banner {
  #client;
  #countdown = null;

  constructor(client) {
    this.#client = client;
  }

  /** Shows a state of the client; `isKept` says whether what is written outlives a reload. */
  show({ state, delay, code, error }, isKept) {
    clearInterval(this.#countdown);
    const connection = byId("connection");
    connection.textContent = NAMES[state] ?? state;
    connection.dataset.state = state;
    if (state === "online") this.hide();
    if (state === "closed") draw(ended(error), "Come back", () => this.#client.connect());
    if (state !== "waiting") return;
    const due = Date.now() + delay;
    const keeps = isKept ? "What you write is sent when it is back." : "What you write is sent when it is back, if this page stays open.";
    const countDown = () => {
      const seconds = Math.ceil((due - Date.now()) / 1_000);
      const when = seconds > 1 ? `Next try in ${seconds} s.` : "Trying again.";
      draw(`${lost(code)} ${when} ${keeps}`, "Try now", () => this.#client.wake());
    };
    this.#countdown = setInterval(countDown, 1_000);
    countDown();
  }

  hide() {
    clearInterval(this.#countdown);
    byId("banner").hidden = true;
  }
}

function draw(message, action, act) {
  byId("banner").hidden = false;
  if (byId("banner-text").textContent !== message) byId("banner-text").textContent = message;
  byId("banner-act").textContent = action;
  byId("banner-act").onclick = act;
}
