/** Timers can't wait longer: 2^31 - 1 ms, beyond which they fire at once. */
const TIMER_MAX = 2_147_483_647;

/** Timers of any length on a clock; none can be forgotten by handing in a time that is too long. */
export class Timers {
  #clock;

  constructor(clock) {
    this.#clock = clock;
  }

  now() {
    return this.#clock.now();
  }

  /** Runs something after a time; null, for never, when the time is infinite. */
  after(ms, run) {
    return ms === Infinity ? null : this.#clock.setTimeout(run, Math.min(ms, TIMER_MAX));
  }

  stop(timer) {
    if (timer !== null) this.#clock.clearTimeout(timer);
  }
}
