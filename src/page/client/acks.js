/** Acks, gathered for a while, so that a busy room isn't one ack a message; they only grow. */
export class Acks {
  /** Channel → the newest offset acked; those still to be sent are named in `#due`. */
  #acked = new Map();
  #due = new Set();

  /** Notes an ack; false when a later one is known. */
  note(channel, offset) {
    if (offset <= (this.#acked.get(channel) ?? 0)) return false;
    this.#acked.set(channel, offset);
    this.#due.add(channel);
    return true;
  }

  /** Takes what is to be sent, as commands. */
  take() {
    const due = [...this.#due].map((channel) => ({ type: "ack", channel, offset: this.#acked.get(channel) }));
    this.#due.clear();
    return due;
  }

  /** Acks that went out on a connection that was lost: nobody knows whether they arrived. */
  sendAgain(channels) {
    for (const channel of channels) if (this.#acked.has(channel)) this.#due.add(channel);
  }

  /** A channel was left, or its offsets began anew. */
  forget(channel) {
    this.#acked.delete(channel);
    this.#due.delete(channel);
  }
}
