/**
 * A page in a real headless Chromium behind a proxy that refuses WebSockets.
 *
 *     node fallback.mjs [--serve 'COMMAND … {port}']
 */
import assert from "node:assert/strict";
import { Proxy } from "./proxy.js";
import { Server } from "./server.js";
import { bubbles, claim, enter, finish, given, gives, heard, say, until, visitor } from "./visitors.js";

const server = await Server.start({ command: given.serve });
const proxy = await Proxy.open(server);
const room = `tea-${Date.now().toString(36)}`;

const behind = await visitor("behind", `${proxy.origin}/?room=${room}`);
await enter(behind, { name: "behind" });
const open = await visitor("open", `${server.origin}/?room=${room}`);
await enter(open, { name: "open" });

await claim("the page comes in by events after three WebSockets were refused", async () => {
  await until("a stream is open", () => proxy.streams.length > 0);
  assert.equal(proxy.asked >= 3, true);
});

await claim("both hear one another, once and in order", async () => {
  await say(open, "can you hear me?");
  await heard(behind, "can you hear me?");
  await say(behind, "yes, by events\nof two lines");
  await heard(open, "of two lines");
  await server.post({ room }, { text: "posted" });
  for (const page of [behind, open]) {
    await heard(page, "posted");
    await gives("all that was said", () => bubbles(page), ["can you hear me?", "yes, by events\nof two lines", "posted"]);
  }
});

await claim("a stream that is cut goes on without a hole", async () => {
  const before = proxy.streams.length;
  proxy.cut();
  await server.post({ room }, { text: "meanwhile" });
  await until("it is open again", () => proxy.streams.length > before);
  await heard(behind, "meanwhile");
});

await proxy.end();
await finish();
await server.end();
