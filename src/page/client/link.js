/** One attempt and the connection that it leads to; everything that belongs to one socket dies with it. */

/** Seconds between the server's pings when its `hello` names none. */
const PING_DEFAULT = 25;

export class Link {
  #timers;
  #probeTimeout;
  #lost;
  socket = null;
  /** Whether the socket is a stream of events that looks like one. */
  isStream = false;
  hello = null;
  loginSeq = null;
  /** Rooms that the login asked for. */
  asked = new Set();
  /** Logged in without rooms, since the login with them was refused; they are joined singly. */
  isBare = false;
  onlineSince = null;
  /** When the server wants this client back, after it said that it goes away. */
  drainUntil = null;
  /** Why the login was refused. */
  refused = null;
  kick = null;
  /** Channels whose acks went out here; nobody says whether they arrived. */
  acked = new Set();
  /** What the WebSocket says of its failure, where it says anything. */
  failure = "";
  #deadline = null;
  #watchdog = null;
  #heard;
  /** A `PING` is out, and nothing at all was heard since. */
  #isProbing = false;

  /**
   * @param {import("./timers.js").Timers} timers
   * @param {number} probeTimeout
   * @param {(reason: string) => void} lost called when the connection has to be given up
   */
  constructor(timers, probeTimeout, lost) {
    this.#timers = timers;
    this.#probeTimeout = probeTimeout;
    this.#lost = lost;
    this.#heard = timers.now();
  }

  /** Gives the connection up after a time; replaces the deadline that was set before. */
  giveUpAfter(ms, reason) {
    this.#timers.stop(this.#deadline);
    this.#deadline = this.#timers.after(ms, () => this.#lost(reason));
  }

  /** The login is answered: from now on a silent server is asked for signs of life. */
  loggedIn() {
    if (this.drainUntil === null) this.#timers.stop(this.#deadline);
    this.loginSeq = null;
    this.onlineSince = this.#timers.now();
    this.#watch();
  }

  /** The server asks to come back in a while; it closes, but doesn't have to be waited for. */
  drain(ms) {
    this.drainUntil = this.#timers.now() + ms;
    this.giveUpAfter(ms, "drained");
  }

  /** Anything at all came. */
  heard() {
    this.#heard = this.#timers.now();
    this.#isProbing = false;
  }

  /** Asks for a sign of life, and gives the connection up when none comes. */
  probe() {
    if (this.#isProbing) return;
    this.#isProbing = true;
    this.#timers.stop(this.#watchdog);
    this.#watchdog = this.#timers.after(this.#probeTimeout, () => {
      if (this.#isProbing) this.#lost("no answer to PING");
      else this.#watch();
    });
    this.send("PING");
  }

  /** A browser doesn't show the server's pings, so silence alone proves nothing: ask. */
  #watch() {
    const silence = (this.hello.ping > 0 ? this.hello.ping : PING_DEFAULT) * 1_500 + 10_000;
    const left = this.#heard + silence - this.#timers.now();
    this.#watchdog = this.#timers.after(left, () => {
      if (this.#heard + silence > this.#timers.now()) this.#watch();
      else this.probe();
    });
  }

  /** Whether a frame is larger than the server takes. */
  isTooBig(frame) {
    const { max } = this.hello;
    // A UTF-16 unit is at most three bytes of UTF-8: most frames needn't be encoded to know.
    return max > 0 && frame.length * 3 > max && new TextEncoder().encode(frame).length > max;
  }

  send(text) {
    try {
      this.socket.send(text);
    } catch (error) {
      this.#lost(`can't send: ${error?.message}`);
    }
  }

  /** Lets go of the socket, however long it takes to die. */
  drop() {
    this.#timers.stop(this.#deadline);
    this.#timers.stop(this.#watchdog);
    try {
      if (this.socket && !(this.socket.readyState > 1)) this.socket.close(1000);
    } catch {
      // it is given up all the same
    }
  }
}
