/** The listeners of the application, by the name of the event. */
export class Events {
  #listeners = new Map();

  add(name, listener) {
    if (typeof listener !== "function") throw new TypeError("listener must be a function");
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name).delete(listener);
  }

  /** Calls all listeners; one that throws (or rejects) stops neither the others nor the client. */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        const result = listener(detail);
        if (typeof result?.then === "function") result.then(undefined, report);
      } catch (error) {
        report(error);
      }
    }
  }
}

/** Tells of an error in a listener, without ending the process that the client runs in. */
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}
