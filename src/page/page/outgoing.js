/**
 * What was written here and isn't known to have arrived: it is sent as soon as it can be, in its
 * order, and outlives a reload of the page.
 *
 * A message keeps its id through all attempts, so that the server takes it once.
 */
import { notSent } from "./words.js";
import { session } from "./memory.js";

/** The server knows an id for five minutes; what may have arrived before that isn't said again. */
const REPEAT_MS_MAX = 270_000;

export class Outgoing {
  #client;
  #name;
  #changed;
  /** `{ key, item }` of all that waits or failed, oldest first. */
  #kept = [];
  /** Whether the browser keeps it over a reload. */
  isKept = true;

  constructor(client, changed) {
    this.#client = client;
    this.#name = `outgoing.${client.uid}`;
    this.#changed = changed;
  }

  /** Takes up what an earlier page of this tab left; `say` puts it into its conversation. */
  restore(say) {
    for (const { key, id, text, ts, triedAt, reason } of session.get(this.#name, [])) {
      const item = Object.assign(say(key, id, text), { ts, triedAt, reason });
      this.#kept.push({ key, item });
      if (reason) item.status = "failed";
      else this.#attempt(key, item);
    }
    this.#keep();
  }

  /** Sends a message of a conversation, for the first time or again. */
  send(key, item) {
    if (!this.#kept.some((kept) => kept.item === item)) this.#kept.push({ key, item });
    this.#attempt(key, item);
    this.#keep();
  }

  /** The connection is there (again): what the last one refused to take is sent now. */
  loggedIn() {
    for (const { key, item } of this.#kept) {
      if (item.status === "pending" && item.isHeld) this.#attempt(key, item);
      if (item.status === "pending") item.triedAt ??= Date.now();
    }
    this.#keep();
  }

  /** Whatever became of it elsewhere: it stands in the history, or was discarded. */
  forget(id) {
    this.#kept = this.#kept.filter(({ item }) => item.id !== id);
    this.#keep();
  }

  async #attempt(key, item) {
    Object.assign(item, { status: "pending", reason: undefined, isHeld: false });
    try {
      if (item.triedAt && Date.now() - item.triedAt > REPEAT_MS_MAX) throw { code: "timeout" };
      if (this.#client.state === "online") item.triedAt ??= Date.now();
      await this.#client.say(key, item.data, { id: item.id, timeout: Infinity });
      // It may have been heard already; otherwise it stays where it is until it is.
      item.status = "sent";
      this.#kept = this.#kept.filter((kept) => kept.item !== item);
    } catch (error) {
      if (error.code === "closed") item.isHeld = true;
      else Object.assign(item, { status: "failed", reason: notSent(error) });
    }
    this.#keep();
    this.#changed();
  }

  #keep() {
    const all = this.#kept.map(({ key, item: { id, data, ts, triedAt, reason } }) => ({ key, id, text: data.text, ts, triedAt, reason }));
    this.isKept = session.set(this.#name, all.length > 0 ? all : null);
  }
}
