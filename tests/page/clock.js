/** Timers that run when the test says so. */
export class Clock {
  #now = 0;
  #timers = new Map();
  #next = 1;

  now() {
    return this.#now;
  }

  setTimeout(run, ms) {
    this.#timers.set(this.#next, { run, due: this.#now + ms });
    return this.#next++;
  }

  clearTimeout(timer) {
    this.#timers.delete(timer);
  }

  get waiting() {
    return this.#timers.size;
  }

  /** Moves time on, and runs what falls due on the way, in its order. */
  advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { due }]) => due <= end);
      if (due.length === 0) break;
      const [key, timer] = due.reduce((a, b) => (b[1].due < a[1].due ? b : a));
      this.#timers.delete(key);
      this.#now = Math.max(this.#now, timer.due);
      timer.run();
    }
    this.#now = end;
  }
}
