/** Positions in channels: where the next message is expected, and what a return asks for. */
import { isCount, isObject, isText } from "./frames.js";

/** Where this client stands in each channel, and what it asks for when it comes back. */
export class Positions {
  /** Channel → `{ epoch, offset, resume }`; `offset` is null until the first position is known. */
  #channels = new Map();

  has(channel) {
    return this.#channels.has(channel);
  }

  get(channel) {
    const known = this.#channels.get(channel);
    return known && known.offset !== null ? { epoch: known.epoch, offset: known.offset } : null;
  }

  set(channel, { epoch, offset }) {
    this.#channels.set(channel, { epoch, offset });
  }

  /** Begins where the application says: at a position, at the last ack, or with all that is kept. */
  begin(channel, resume) {
    if (!isResume(resume)) {
      throw new TypeError(`resume of ${channel} must be "acked" or { epoch, offset }`);
    }
    const isKnown = resume !== "acked" && resume.offset > 0;
    this.#channels.set(channel, isKnown ? { epoch: resume.epoch, offset: resume.offset } : { epoch: null, offset: null, resume });
  }

  forget(channel) {
    this.#channels.delete(channel);
  }

  /** What to ask for when (re)joining a channel; undefined for "from now on". */
  resume(channel) {
    const known = this.#channels.get(channel);
    if (!known) return undefined;
    if (known.offset === null) return known.resume;
    return known.epoch === null ? undefined : { epoch: known.epoch, offset: known.offset };
  }

  /** What to ask for in every channel, by channel. */
  resumes() {
    return [...this.#channels.keys()].map((channel) => [channel, this.resume(channel)]).filter(([, from]) => from);
  }

  /** Takes over the position that a login or a join reported; gives the hole, if there is one. */
  subscribed(channel, { epoch = null, offset = null, recovered }) {
    const known = this.#channels.get(channel);
    const asked = this.resume(channel) !== undefined;
    if (asked && recovered !== false) {
      // What was missed follows, and moves the position as it comes.
      known.epoch ??= epoch;
      return null;
    }
    this.#channels.set(channel, { epoch, offset });
    if (!asked) return null;
    const previous = known.offset === null ? null : { epoch: known.epoch, offset: known.offset };
    return { channel, epoch, offset, recovered: false, previous };
  }

  /** Moves a channel's position on; `isNew` is false for what was seen before. */
  advance(channel, epoch, offset) {
    const previous = this.get(channel);
    if (previous && previous.epoch === epoch && offset <= previous.offset) return { isNew: false, hole: null };
    this.#channels.set(channel, { epoch, offset });
    const isHole = previous && (previous.epoch !== epoch || offset > previous.offset + 1);
    const hole = isHole ? { channel, epoch, offset: offset - 1, recovered: false, previous } : null;
    return { isNew: true, hole };
  }
}

function isResume(resume) {
  return resume === "acked" || (isObject(resume) && isText(resume.epoch ?? "") && isCount(resume.offset));
}

export function isRoom(channel) {
  return !channel.startsWith("@") && !channel.startsWith("*");
}
