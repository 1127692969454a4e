/** A server, the network in front of it and clients on an invented clock, for one test. */
import { Clock } from "./clock.js";
import { Server } from "./server.js";
import { WebSocket, Wire } from "./wire.js";

/** Far longer than anything takes; a test that hangs shall say what it hangs on. */
const EVENT_MS_MAX = 30_000;
const EVENTS = ["message", "joined", "left", "presence", "gap", "restarted", "login", "state", "kick", "drain", "error"];

export class World {
  clock = new Clock();
  #clients = [];

  /** Starts a server and the network; both end with the test `t`. */
  static async start(t, { wire, ...server } = {}) {
    const world = new World();
    t.after(() => world.#end());
    world.server = await Server.start(server);
    world.module = await world.server.client();
    world.wire = await Wire.open(world.server, wire);
    return world;
  }

  /** A client whose events are kept in `heard`, with a random number that is always one half. */
  make(options = {}) {
    const { Client } = this.module;
    const client = new Client({ uid: "ann", rooms: ["lobby"], url: this.wire.url, WebSocket, clock: this.clock, random: () => 0.5, ...options });
    client.heard = [];
    for (const name of EVENTS) client.on(name, (detail) => client.heard.push({ ...detail, name, detail }));
    this.#clients.push(client);
    return client;
  }

  async connected(options) {
    const client = this.make(options);
    await client.connect();
    return client;
  }

  /** Lets clients find out about a cut, wait as long as they mean to, and log in again. */
  async back(...clients) {
    await Promise.all(clients.filter(({ state }) => state === "online").map((client) => state(client, "waiting")));
    const logins = clients.map((client) => event(client, "login"));
    this.clock.advance(Math.max(...clients.map((client) => named(client, "state").at(-1).delay)));
    await Promise.all(logins);
  }

  /** Says something to a room and waits until all have heard it, and so all that came before. */
  async marked(room, ...clients) {
    const mark = `mark ${Math.random()}`;
    const heard = clients.map((client) => event(client, "message", ({ data }) => data === mark));
    await this.server.post({ room }, mark);
    await Promise.all(heard);
  }

  async #end() {
    for (const client of this.#clients) client.close();
    await this.wire?.end();
    await this.server?.end();
  }
}

/** Waits for an event that `likes` likes. */
export function event(client, name, likes = () => true) {
  const waiting = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no such ${name} event within ${EVENT_MS_MAX} ms`)), EVENT_MS_MAX);
    late.unref();
    const end = client.on(name, (detail) => {
      if (!likes(detail)) return;
      end();
      clearTimeout(late);
      resolve(detail);
    });
  });
  // A test that fails before it waits for this has said enough.
  waiting.catch(() => {});
  return waiting;
}

export const state = (client, wanted) => event(client, "state", ({ state }) => state === wanted);
export const named = (client, name) => client.heard.filter((heard) => heard.name === name);
/** What was heard in the channel's order, without the marks. */
export const texts = (client) => named(client, "message").map(({ data }) => data).filter((data) => !String(data).startsWith("mark "));
