/** The server under test, as a process of its own, and what a back end does with it. */
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
export const BINARY = process.env.TIDINGS ?? `${TARGET}/debug/tidings`;
const SECRET = "a-secret-of-these-tests-and-of-nothing-else";
const API_KEY = "an-API-key-of-these-tests-alone";
/** Settings with which tokens and API keys are asked for, and the page is there all the same. */
export const KEYS = `page = "on"\n[tokens]\nleeway_s = 0\n[tokens.keys.k1]\nsecret = "${SECRET}"\n[api_keys.tests]\nkey = "${API_KEY}"\n`;
const START_MS_MAX = 20_000;

/** Makes an access token as a back end would (RFC 7519, HS256). */
export function token(sub, rooms = ["*"], { ttl_s = 3600, secret = SECRET } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = { sub, rooms, exp: Math.floor(Date.now() / 1_000) + ttl_s };
  const signed = `${part({ alg: "HS256", typ: "JWT", kid: "k1" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Processes that run; none outlives this one, however it ends. */
const running = new Set();
process.once("SIGTERM", () => process.exit(1));
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Sees to it that a process doesn't outlive this one. */
export function attach(child) {
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

export class Server {
  #command;
  #folder;
  #child = null;
  #output = "";

  /** Starts a server, which only `onDisk` keeps anything there; `settings` are TOML, `set` single ones. */
  static async start({ settings = "", set = [], onDisk = false, command } = {}) {
    const server = new Server();
    server.port = await freePort();
    server.#folder = mkdtempSync(join(tmpdir(), "tidings-page-"));
    const file = join(server.#folder, "tidings.toml");
    writeFileSync(file, settings, { mode: 0o600 });
    const flags = set.flatMap((one) => ["--set", one]);
    const listen = `127.0.0.1:${server.port}`;
    const words = command?.replaceAll("{port}", String(server.port)).split(/\s+/) ?? [BINARY, "serve", "--listen", listen, "--data", onDisk ? join(server.#folder, "data") : "none"];
    // Its folder is another one than that from which the command was given.
    const binary = words[0].includes("/") ? resolve(words[0]) : words[0];
    server.#command = [binary, ...words.slice(1), "--config", file, ...flags];
    await server.start();
    return server;
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  get url() {
    return `ws://127.0.0.1:${this.port}/ws`;
  }

  /** Starts it (again), on the same port and with the same settings. */
  async start() {
    const [binary, ...flags] = this.#command;
    const child = spawn(binary, flags, { cwd: this.#folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const output of [child.stdout, child.stderr]) output.on("data", (text) => (this.#output += text));
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}: ${this.#output}`);
    });
    ended.catch(() => {});
    attach(child);
    await Promise.race([answers(this.origin, () => this.#output), ended]);
    this.#child = child;
  }

  /** Ends the process; its folder stays for the next start. */
  async stop(signal = "SIGTERM") {
    const child = this.#child;
    if (child === null) return;
    this.#child = null;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }

  /** Kills the process, and starts it again after `meanwhile`. */
  async restart(meanwhile) {
    await this.stop("SIGKILL");
    await meanwhile();
    await this.start();
  }

  async end() {
    await this.stop("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async request(method, path, body) {
    const headers = { Authorization: `Bearer ${API_KEY}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(this.origin + path, { method, headers, body: body && JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  /** Says something as a back end; gives the result of the first receiver. */
  async post(to, data, more = {}) {
    const { results } = await this.request("POST", "/v1/messages", { to, data, ...more });
    return results[0];
  }

  /** What a room holds, oldest first. */
  async said(room) {
    const { messages } = await this.request("GET", `/v1/rooms/${encodeURIComponent(room)}/messages?limit=1000`);
    return messages.map(({ data }) => data);
  }

  /** Loads the client as the server hands it out. */
  async client() {
    const file = join(this.#folder, "client.mjs");
    writeFileSync(file, await (await fetch(`${this.origin}/client.js`)).text());
    return await import(pathToFileURL(file).href);
  }
}

/** Waits until a server answers at an address; `output` gives what it has said until then. */
export async function answers(origin, output) {
  const until = Date.now() + START_MS_MAX;
  for (;;) {
    try {
      if ((await fetch(`${origin}/healthz`)).ok) return;
    } catch {
      // nothing listens yet
    }
    if (Date.now() > until) throw new Error(`no answer within ${START_MS_MAX} ms: ${output()}`);
    await new Promise((again) => setTimeout(again, 20));
  }
}

export async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}
