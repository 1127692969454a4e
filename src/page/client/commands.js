/** What the client asked for, until it is answered. */
import { TidingsError } from "./error.js";

/** Makes an id that nobody else makes: 128 random bits as 32 hexadecimal digits. */
export function makeId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The commands that wait for an answer, in the order in which they were given. */
export class Commands {
  #timers;
  #waiting = new Map();

  constructor(timers) {
    this.#timers = timers;
  }

  get size() {
    return this.#waiting.size;
  }

  /** The commands waiting now; the list doesn't change when they are settled. */
  all() {
    return [...this.#waiting.values()];
  }

  get(seq) {
    return this.#waiting.get(seq);
  }

  /** Adds a command; its promise is rejected with `timeout` when no answer comes in time. */
  add(command, timeout) {
    const { promise, resolve, reject } = deferred();
    const { seq, type, room } = command;
    const waiting = { seq, type, room, frame: toJson(command), sentAt: null, promise, resolve, reject };
    this.#waiting.set(seq, waiting);
    waiting.timer = this.#timers.after(timeout, () => {
      const message = `no answer to ${type} within ${timeout} ms`;
      this.settle(waiting, new TidingsError("timeout", message, { retry: true }));
    });
    return waiting;
  }

  settle(command, error, answer) {
    if (!this.#waiting.delete(command.seq)) return;
    this.#timers.stop(command.timer);
    if (error) command.reject(error);
    else command.resolve(answer);
  }
}

function toJson(command) {
  try {
    return JSON.stringify(command);
  } catch (error) {
    // Cycles and big integers have no JSON.
    throw new TidingsError("bad_request", `no JSON: ${error.message}`, { cause: error });
  }
}

/** Who doesn't wait for an answer isn't told of a rejection that nobody handled. */
export function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

export function deferred() {
  let resolve, reject;
  const promise = new Promise((kept, broken) => ([resolve, reject] = [kept, broken]));
  quiet(promise);
  return { promise, resolve, reject };
}
