/**
 * The page in a real headless Chromium, with a server that compresses.
 *
 *     node deflate.mjs [--serve 'COMMAND … {port}']
 */
import assert from "node:assert/strict";
import { Server } from "./server.js";
import { bubbles, claim, enter, finish, given, gives, heard, say, until, visitor } from "./visitors.js";

const server = await Server.start({ command: given.serve, set: ["websocket.deflate=true"] });
const room = `tea-${Date.now().toString(36)}`;

/** Opens the page as a browser of its own, and notes what the browser says of its WebSocket. */
async function person(name) {
  const page = await visitor(name, "about:blank");
  const devtools = await page.context().newCDPSession(page);
  const seen = { answers: [], received: [] };
  devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) => seen.answers.push(response.headers));
  devtools.on("Network.webSocketFrameReceived", ({ response }) => seen.received.push(response.payloadData));
  await devtools.send("Network.enable");
  await page.goto(`${server.origin}/?room=${room}`);
  await enter(page, { name });
  return { page, seen };
}

const [ann, bob] = [await person("ann"), await person("bob")];

await claim("Chromium and the server agree on compression without context takeover", async () => {
  for (const { seen } of [ann, bob]) {
    await until("the handshake is seen", () => seen.answers.length > 0);
    const header = Object.entries(seen.answers[0]).find(([name]) => name.toLowerCase() === "sec-websocket-extensions");
    assert.equal(header?.[1], "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
  }
});

await claim("long messages come compressed once for all, and mean the same", async () => {
  const long = "said again and again, ".repeat(60).trim();
  await say(ann.page, long);
  await say(bob.page, "short");
  await say(bob.page, `${long} by bob`);
  for (const { page } of [ann, bob]) {
    await heard(page, "by bob");
    await gives("all that was said", () => bubbles(page), [long, "short", `${long} by bob`]);
  }
  for (const { seen } of [ann, bob]) assert.equal(seen.received.filter((text) => text.includes(long)).length >= 2, true);
  const { deflate } = await (await fetch(`${server.origin}/v1/stats`)).json();
  assert.equal(deflate.messages, 2);
  assert.equal(deflate.bytes_after * 3 < deflate.bytes_before, true);
});

await finish();
await server.end();
