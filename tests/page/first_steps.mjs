/**
 * With keys, from an empty folder to a second browser window: the commands that `tidings init` prints
 * are run as they stand there.
 *
 *     node first_steps.mjs [--shots FOLDER]
 */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, answers, attach, freePort } from "./server.js";
import { claim, complaints, connected, finish, gives, heard, say, shot, until, visitor } from "./visitors.js";

const home = mkdtempSync(join(tmpdir(), "tidings-home-"));
const bin = mkdtempSync(join(tmpdir(), "tidings-bin-"));
symlinkSync(BINARY, join(bin, "tidings"));
const listen = `127.0.0.1:${await freePort()}`;
/** As in a terminal, but for the port, which others may have here. */
const options = { cwd: home, env: { PATH: `${bin}:${process.env.PATH}`, USER: "somebody", TIDINGS_LISTEN: listen } };

/** Runs a command line to its end. */
function run(line) {
  const { status, stdout, stderr } = spawnSync("sh", ["-c", line], { ...options, encoding: "utf8" });
  assert.equal(status, 0, `${line}: ${stderr}`);
  return { stdout, stderr };
}

/** Starts a command line that goes on. */
function start(line) {
  const child = attach(spawn("sh", ["-c", `exec ${line}`], { ...options, stdio: ["ignore", "pipe", "pipe"] }));
  const said = { out: "", err: "" };
  child.stdout.on("data", (text) => (said.out += text));
  child.stderr.on("data", (text) => (said.err += text));
  return { child, said };
}

let steps;
let server;
const step = (name) => steps.filter((line) => line.startsWith(`tidings ${name} `));

await claim("init writes one file and says the next commands", () => {
  const { stdout } = run("tidings init");
  assert.deepEqual(readdirSync(home), ["tidings.toml"]);
  steps = stdout.split("\n").filter((line) => line.startsWith("  tidings ")).map((line) => line.trim());
  assert.deepEqual(steps.map((line) => line.split(" ")[1]), ["serve", "token", "token", "send", "listen"]);
});

await claim("the server starts with that file and says how to enter", async () => {
  server = start(step("serve")[0]);
  await answers(`http://${listen}`, () => server.said.err);
  await until("it says where the chat is", () => server.said.out.includes(`chat: http://${listen}/ asks for a token`));
});

const windows = [];

await claim("the link of a token leads right in, and a second window hears the first", async () => {
  for (const line of step("token")) {
    const { stdout, stderr } = run(line);
    const [, link] = stderr.match(/^open: (\S+)$/m);
    assert.equal(link, `http://${listen}/#token=${stdout.trim()}`);
    windows.push(await visitor(`window ${windows.length + 1}`, link));
  }
  const [ann, bob] = windows;
  for (const page of windows) {
    await connected(page);
    await page.getByRole("heading", { name: "# lobby" }).waitFor();
    await until("the token is out of the address", () => !page.url().includes("token"));
  }
  await say(ann, "Can you hear me?");
  await heard(bob, "Can you hear me?");
  await say(bob, "Loud and clear.");
  await heard(ann, "Loud and clear.");
  for (const page of windows) await gives("all that was said", () => page.locator("#log .bubble").allTextContents(), ["Can you hear me?", "Loud and clear."]);
  await shot(bob, "first-steps");
});

await claim("send is heard in both windows, and nobody is seen to come for it", async () => {
  const { stdout } = run(step("send")[0]);
  assert.equal(JSON.parse(stdout).receivers, windows.length);
  for (const page of windows) {
    await heard(page, "hello from the shell");
    await page.locator("#log .name", { hasText: "somebody" }).waitFor();
    assert.equal(await page.locator("#log .comings", { hasText: "somebody" }).count(), 0);
    await page.getByText("2 people here").waitFor();
  }
});

await claim("listen prints what a window says and what send sends", async () => {
  const { child, said } = start(step("listen")[0]);
  await until("it is connected", () => said.err.includes("connected; listening to lobby"));
  await say(windows[0], "Is the terminal listening?");
  await until("the window is heard", () => said.out.includes("lobby ann: Is the terminal listening?"));
  run(step("send")[0]);
  await until("send is heard", () => said.out.includes("lobby somebody: hello from the shell"));
  const gone = once(child, "exit");
  child.kill();
  await gone;
});

await claim("no page complained, and the server stops as it should", async () => {
  assert.deepEqual(complaints, []);
  const gone = once(server.child, "exit");
  server.child.kill("SIGTERM");
  assert.deepEqual(await gone, [0, null], server.said.err);
});

for (const folder of [home, bin]) rmSync(folder, { recursive: true, force: true });
await finish();
