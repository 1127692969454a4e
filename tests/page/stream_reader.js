/** As much of a browser's EventSource as the client uses: Node 20 has none. */
export class EventSource extends EventTarget {
  readyState = 0;
  onopen = null;
  onmessage = null;
  onerror = null;
  #stop = new AbortController();

  constructor(url) {
    super();
    this.#read(url);
  }

  close() {
    this.readyState = 2;
    this.#stop.abort();
  }

  async #read(url) {
    try {
      const answer = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: this.#stop.signal });
      if (answer.status !== 200 || !answer.headers.get("content-type").startsWith("text/event-stream")) throw new Error(`${answer.status}`);
      this.readyState = 1;
      this.onopen?.();
      let rest = "";
      for await (const text of answer.body.pipeThrough(new TextDecoderStream())) {
        const events = (rest + text).split("\n\n");
        rest = events.pop();
        for (const event of events) this.#dispatch(event.split("\n"));
      }
      throw new Error("the end");
    } catch {
      if (this.readyState !== 2) this.onerror?.();
    }
  }

  #dispatch(lines) {
    const all = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
    const data = all("data");
    if (data.length === 0 || this.readyState === 2) return;
    const [type = "message"] = all("event");
    const event = new MessageEvent(type, { data: data.join("\n") });
    if (type === "message") this.onmessage?.(event);
    else this.dispatchEvent(event);
  }
}
