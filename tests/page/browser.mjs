/**
 * The page in a real headless Chromium, against the server.
 *
 *     node browser.mjs [--shots FOLDER] [--serve 'COMMAND … {port}']
 *
 * Without a command it starts the server that was built last; `{port}` becomes a free port.
 * Exits with 1 when a claim doesn't hold.
 */
import assert from "node:assert/strict";
import { KEYS, Server, token } from "./server.js";
import { DESKTOP, PHONE, bubbles, claim, complaints, connected, counts, enter, finish, given, gives, heard, join, listed, say, shot, still, until, visitor } from "./visitors.js";

const EVIL = '<img src=x onerror="window.__pwned=1"><script>window.__pwned=1</script>';
const server = await Server.start({ command: given.serve });
/** The rooms are new in every run, so that a server may keep what earlier runs said. */
const room = `tea-${Date.now().toString(36)}`;

/** Opens the page as a browser of its own and comes in under a name. */
async function person(name, { at = room, ...looks } = {}) {
  const page = await visitor(name, `${server.origin}/?room=${encodeURIComponent(at)}`, looks);
  await enter(page, { name });
  return page;
}

const post = (to, data, more) => server.post(to, data, more);
/** Waits until the conversation in front is this one: title, log and field are drawn together. */
const inFront = (page, title) => page.getByRole("heading", { name: title, exact: true }).waitFor();
const field = (page) => page.getByLabel("Message", { exact: true });
const pending = (page) => page.locator("#log .pending");
/** Says something and waits until the server has it and the page shows so. */
async function sayIt(page, text) {
  await say(page, text);
  // A bubble that isn't drawn yet isn't pending either.
  await heard(page, text);
  await counts(pending(page), 0);
}

const ann = await person("ann");
const bob = await person("Bob Miller");

await claim("two people in a room hear one another, once and in order", async () => {
  await say(ann, "Good morning! Is the release out?");
  await heard(bob, "Is the release out?");
  await say(bob, "Since nine o'clock: https://example.org/notes.");
  await say(bob, "One line\nand another one");
  await heard(ann, "and another one");
  const said = ["Good morning! Is the release out?", "Since nine o'clock: ", "One line\nand another one"];
  for (const page of [ann, bob]) await gives("all that was said", () => bubbles(page), said);
  await counts(ann.locator("#log .own"), 1);
  assert.equal(await ann.locator("#log .bubble a").getAttribute("href"), "https://example.org/notes");
  for (const page of [ann, bob]) await counts(pending(page), 0);
});

await claim("who is here is right, and follows those who come and go", async () => {
  await listed(ann, "people-list", "Bob Miller").waitFor();
  const cid = await person("cid");
  await listed(ann, "people-list", "cid").waitFor();
  await ann.locator("#log .comings", { hasText: "cid joined" }).waitFor();
  await cid.context().close();
  await listed(ann, "people-list", "cid").waitFor({ state: "detached" });
  await ann.getByText("2 people here").waitFor();
});

await claim("a private message reaches the one it is for, and nobody else", async () => {
  const dora = await person("dora");
  await listed(ann, "people-list", "Bob Miller").click();
  await ann.getByRole("heading", { name: "Bob Miller" }).waitFor();
  await say(ann, "Between us: well done.");
  await listed(bob, "direct", "ann").getByText("1 unread").waitFor();
  await until("the title counts it", async () => /^\(1\)/.test(await bob.title()));
  await shot(bob, "desktop-unread");
  await listed(bob, "direct", "ann").click();
  await heard(bob, "Between us");
  await say(bob, "Thanks, pass it on.");
  await heard(ann, "pass it on");
  await counts(listed(bob, "direct", "ann").locator(".badge"), 0);
  // Dora hears this after whatever of the private ones would have come to her.
  await post({ room }, { text: "lunch?" }, { from: "ci" });
  await heard(dora, "lunch?");
  assert.equal(await dora.locator("#direct .row").count(), 0);
  await shot(ann, "desktop-private");
  await dora.context().close();
  for (const page of [ann, bob]) {
    await listed(page, "rooms", room).click();
    await inFront(page, `# ${room}`);
  }
});

await claim("a message posted by HTTP is seen by both", async () => {
  await post({ room }, { text: "Build 118 is green." }, { from: "ci" });
  await post({ room }, { build: 118, ok: true });
  for (const page of [ann, bob]) {
    await heard(page, "Build 118 is green.");
    await heard(page, '{"build":118,"ok":true}');
  }
});

await claim("rooms are joined, marked unread, changed by keyboard and left", async () => {
  const other = `${room}-2`;
  for (const page of [ann, bob]) {
    await page.getByLabel("Name of the room to join").fill(other);
    await page.keyboard.press("Enter");
    await inFront(page, `# ${other}`);
  }
  await listed(ann, "people-list", "Bob Miller").waitFor();
  await field(ann).fill("a draft");
  await ann.keyboard.press("Alt+ArrowUp");
  await inFront(ann, `# ${room}`);
  await gives("the field is empty", () => field(ann).inputValue(), "");
  await say(bob, "over here");
  await listed(ann, "rooms", other).getByText("1 unread").waitFor();
  await ann.keyboard.press("Alt+ArrowDown");
  await heard(ann, "over here");
  await gives("the draft is there", () => field(ann).inputValue(), "a draft");
  await ann.locator("#log .line.new").waitFor();
  for (const page of [ann, bob]) {
    await page.getByRole("button", { name: "Leave the room" }).click();
    await listed(page, "rooms", other).waitFor({ state: "detached" });
    await listed(page, "rooms", room).click();
    await inFront(page, `# ${room}`);
  }
});

await claim("history comes with scrolling up, and the view stays where it was", async () => {
  const long = `${room}-long`;
  for (let n = 1; n <= 95; n++) await post({ room: long }, { text: `line ${n}.` }, { from: n % 9 < 5 ? "ci" : "ann" });
  const eve = await person("eve", { at: long });
  await heard(eve, "line 95.");
  await gives("one page of history", async () => (await bubbles(eve))[0], "line 46.");
  const scroller = eve.locator("#log-scroll");
  const atEnd = () => scroller.evaluate((one) => one.scrollHeight - one.scrollTop - one.clientHeight < 5);
  await until("the view is at the end", atEnd);
  await scroller.evaluate((one) => (one.scrollTop = 60));
  const before = eve.locator("#log .bubble", { hasText: "line 48." });
  await heard(eve, "line 1.");
  await gives("the whole history", () => bubbles(eve), Array.from({ length: 95 }, (_, n) => `line ${n + 1}.`));
  assert.equal(await before.isVisible(), true);
  const box = await before.boundingBox();
  assert.ok(box.y > 0 && box.y < 500, `line 48 is at ${box.y}`);
  await post({ room: long }, { text: "while you read" }, { from: "ci" });
  await eve.getByText("1 new").waitFor();
  await shot(eve, "desktop-history");
  await eve.locator("#jump").click();
  await heard(eve, "while you read");
  await until("the view is at the end", atEnd);
  await eve.reload();
  await connected(eve);
  await heard(eve, "while you read");
  await eve.context().close();
});

await shot(ann, "desktop");

await claim("script in names, rooms and messages stays text", async () => {
  const evil = await person(EVIL.slice(0, 60), { at: EVIL.slice(0, 60) });
  await say(evil, EVIL);
  await heard(evil, "<script>");
  await post({ room: EVIL.slice(0, 60) }, { [EVIL]: EVIL }, { from: EVIL });
  await heard(evil, `{"`);
  await listed(evil, "people-list", "<img").waitFor();
  await evil.getByLabel("Name of the room to join").fill(room);
  await evil.keyboard.press("Enter");
  await evil.getByRole("heading", { name: `# ${room}` }).waitFor();
  await say(evil, `javascript:window.__pwned=1 http://"onmouseover=window.__pwned=1 ${EVIL}`);
  await heard(ann, "javascript:");
  await listed(ann, "people-list", "<img").click();
  await say(ann, `${EVIL} to you too`);
  await listed(evil, "direct", "ann").click();
  await heard(evil, "to you too");
  for (const page of [ann, bob, evil]) {
    assert.equal(await page.evaluate(() => window.__pwned), undefined);
    assert.equal(await page.locator("#app img, #app script, #app iframe").count(), 0);
  }
  const refused = await evil.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.__pwned = 1";
    document.body.append(script);
    return window.__pwned === undefined;
  });
  assert.ok(refused, "the policy forbids inline script");
  const isOfPolicy = (line) => /Content Security Policy/.test(line);
  await until("the page complains of the script", () => complaints.some(isOfPolicy));
  complaints.splice(0, Infinity, ...complaints.filter((line) => !isOfPolicy(line)));
  await shot(ann, "desktop-injection");
  await evil.context().close();
  await ann.getByRole("button", { name: "Close the conversation" }).click();
  await listed(ann, "rooms", room).click();
  await inFront(ann, `# ${room}`);
});

await claim("reloading brings the same person back, with what was said", async () => {
  await bob.reload();
  await connected(bob);
  await heard(bob, "Build 118 is green.");
  await gives("the name", () => bob.locator("#self-name").textContent(), "Bob Miller");
  await listed(bob, "direct", "ann").click();
  await heard(bob, "Between us");
  await listed(bob, "rooms", room).click();
  await inFront(bob, `# ${room}`);
});

await claim("after a restart the pages come back by themselves and nothing is doubled", async () => {
  const count = (await bubbles(ann)).length;
  await server.restart(async () => {
    await ann.locator('#connection:not([data-state="online"])').waitFor();
    await ann.getByText("The connection is gone.").waitFor();
    await say(ann, "written while away");
    await pending(ann).waitFor();
    await still(ann);
    await shot(ann, "desktop-away");
  });
  for (const page of [ann, bob]) await connected(page);
  await heard(bob, "written while away");
  await say(bob, "welcome back");
  await heard(ann, "welcome back");
  await heard(bob, "welcome back");
  for (const page of [ann, bob]) {
    const said = await bubbles(page);
    for (const once of ["written while away", "welcome back", "Build 118 is green."]) {
      assert.equal(said.filter((text) => text === once).length, 1, once);
    }
  }
  await gives("two more", async () => (await bubbles(ann)).length, count + 2);
  await ann.getByText("History began anew").waitFor();
  await counts(ann.locator("#log .line.anew"), 1);
  await listed(ann, "people-list", "Bob Miller").waitFor();
  await shot(ann, "desktop-anew");
});

await claim("on a phone the lists are drawers, and nothing is wider than the screen", async () => {
  const zoe = await person("zoe", { viewport: PHONE });
  const narrow = () => zoe.evaluate(() => document.documentElement.scrollWidth <= innerWidth);
  await say(zoe, "Hello from the train. This one is a little longer, so that it needs more than one line on a phone.");
  await say(ann, "Have a good trip!");
  await heard(zoe, "Have a good trip!");
  await still(zoe);
  assert.ok(await narrow());
  await shot(zoe, "phone");
  await zoe.locator("#places").waitFor({ state: "hidden" });
  await zoe.getByRole("button", { name: "Conversations" }).tap();
  await listed(zoe, "rooms", room).waitFor();
  await still(zoe);
  assert.ok(await narrow());
  await shot(zoe, "phone-places");
  await zoe.keyboard.press("Escape");
  await zoe.locator("#places").waitFor({ state: "hidden" });
  await zoe.getByRole("button", { name: "Who is here" }).tap();
  await listed(zoe, "people-list", "ann").waitFor();
  await still(zoe);
  await shot(zoe, "phone-people");
  await listed(zoe, "people-list", "ann").tap();
  await zoe.locator("#people").waitFor({ state: "hidden" });
  await say(zoe, "Are you there?");
  await heard(zoe, "Are you there?");
  await shot(zoe, "phone-private");
  await zoe.context().close();
});

await claim("a private conversation that was closed comes back with what was said", async () => {
  await listed(ann, "direct", "Bob Miller").click();
  await heard(ann, "Between us");
  await ann.getByRole("button", { name: "Close the conversation" }).click();
  await listed(ann, "direct", "Bob Miller").waitFor({ state: "detached" });
  await listed(ann, "rooms", room).click();
  await listed(ann, "people-list", "Bob Miller").click();
  await heard(ann, "Between us");
  await listed(ann, "rooms", room).click();
  await inFront(ann, `# ${room}`);
});

await claim("the dark looks and the way in work too", async () => {
  const kim = await person("kim", { colorScheme: "dark" });
  await say(kim, "It is late here.");
  await heard(ann, "It is late here.");
  await shot(kim, "desktop-dark");
  await kim.getByRole("button", { name: "Sign out" }).click();
  await gives("the name", () => kim.getByLabel("Your name").inputValue(), "kim");
  await kim.setViewportSize(PHONE);
  await shot(kim, "phone-entry");
  await kim.context().close();
});

await claim("what is written while the server is away is sent when it is back, in order, without a click", async () => {
  let isAway = false;
  const sockets = new Set();
  const route = (socket) => {
    if (isAway) return socket.close({ code: 1012 });
    socket.connectToServer();
    sockets.add(socket);
  };
  const lea = await visitor("lea", `${server.origin}/?room=${room}`, { clock: true, route });
  await enter(lea, { name: "lea" });
  await sayIt(lea, "before");
  isAway = true;
  for (const socket of sockets) socket.close({ code: 1012 });
  await lea.locator('#connection:not([data-state="online"])').waitFor();
  await say(lea, "first while away");
  await say(lea, "second while away");
  await field(lea).fill("half a sent");
  await counts(pending(lea), 2);
  // Longer than any answer of the server is waited for.
  await lea.clock.runFor(45_000);
  await counts(pending(lea), 2);
  assert.equal(await lea.locator("#log .failed").count(), 0);
  await lea.getByText("What you write is sent when it is back.").waitFor();
  for (const list of ["people-list", "direct"]) await counts(lea.locator(`#${list} .online`), 0);
  await gives("the note", () => lea.locator("#talk-note").textContent(), "not connected");
  await shot(lea, "desktop-long-outage");
  await lea.setViewportSize(PHONE);
  await shot(lea, "phone-long-outage");
  await lea.setViewportSize(DESKTOP);
  // A reload loses nothing of it.
  await lea.reload();
  await lea.getByText("The server can't be reached just now.").waitFor();
  await lea.locator("#app").waitFor({ state: "hidden" });
  await shot(lea, "desktop-entry-unreachable");
  isAway = false;
  await lea.clock.runFor(30_000);
  await connected(lea);
  await heard(bob, "second while away");
  await gives("both, in order", async () => (await bubbles(bob)).filter((text) => /while away$/.test(text)).slice(-2), ["first while away", "second while away"]);
  await heard(lea, "second while away");
  await counts(lea.locator("#log .pending, #log .failed"), 0);
  await gives("the draft is there", () => field(lea).inputValue(), "half a sent");
  await lea.context().close();
});

await claim("who sends a message needn't be there: the dot tells what the server says", async () => {
  await post({ user: "ann" }, { text: "Disk is at 80 %." }, { from: "system" });
  const row = listed(ann, "direct", "system");
  await row.locator(".avatar.away").waitFor();
  assert.equal(await row.locator(".online").count(), 0);
  await row.click();
  await heard(ann, "Disk is at 80 %.");
  await gives("the note", () => ann.locator("#talk-note").textContent(), "offline");
  await listed(ann, "rooms", room).click();
  await inFront(ann, `# ${room}`);
});

await claim("lists that were cut say so, presence may stop, and what can't be read is told", async () => {
  // Who left just before would still be counted out of what follows.
  await listed(ann, "people-list", "lea").waitFor({ state: "detached" });
  let toPage;
  const max = await visitor("max", `${server.origin}/?room=${room}`, {
    // Stands between the page and the server, for what no server of a test's size does.
    route: (socket) => {
      const away = socket.connectToServer();
      away.onMessage((text) => {
        const frame = JSON.parse(text);
        socket.send(Array.isArray(frame.users) ? JSON.stringify({ ...frame, users_total: 1_010 }) : text);
      });
      toPage = (frame) => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
    },
  });
  await enter(max, { name: "max" });
  await max.getByText("1010 people here").waitFor();
  await max.getByText(/and 100\d more who aren't listed/).waitFor();
  await shot(max, "desktop-cut-list");
  toPage({ type: "presence", room, state: "on", users: ["ann", "max", "zoe"], users_total: 12, more: true });
  await max.getByText("12 people here").waitFor();
  await max.getByText("and 9 more who aren't listed").waitFor();
  toPage({ type: "presence", room, state: "on", users: ["ann", "max", "zoe"] });
  await max.getByText("3 people here").waitFor();
  await say(max, "one");
  await heard(max, "one");
  const { epoch, offset } = await post({ room }, { text: "two" });
  await heard(max, "two");
  toPage(`{"type":"msg","channel":"${room}","epoch":"${epoch}","offset":${offset + 1},"data":\u0001}`);
  await max.getByText("A message can't be shown here").waitFor();
  toPage({ type: "weather" });
  await max.getByText("The server sent something that this page can't read.").waitFor();
  await say(max, "still here");
  await heard(ann, "still here");
  await shot(max, "desktop-unreadable");
  await max.context().close();
});

await claim("who is asked to leave reads why, and may come back", async () => {
  const gus = await person("gus");
  await server.request("POST", "/v1/users/gus/kick", { code: "spam", message: "that was too loud" });
  await gus.getByText("You were asked to leave: that was too loud").waitFor();
  await say(gus, "written after that");
  await pending(gus).waitFor();
  await shot(gus, "desktop-kicked");
  await gus.getByRole("button", { name: "Come back" }).click();
  await connected(gus);
  await heard(ann, "written after that");
  await gus.context().close();
});

const guarded = await Server.start({ settings: KEYS, command: given.serve });
const door = (page) => page.locator("#entry");
const labels = (page) => page.locator("#rooms .label").allTextContents();

await claim("with keys a name alone leads to the field for the token, and the chat isn't shown", async () => {
  const nia = await visitor("nia", guarded.origin);
  await nia.getByLabel("Your name").fill("nia");
  await nia.getByRole("button", { name: "Enter" }).click();
  await nia.getByText("This server asks for an access token.").waitFor();
  await door(nia).waitFor();
  await nia.locator("#app").waitFor({ state: "hidden" });
  for (const [given, at, text] of [
    ["rubbish", "token", "The server doesn't accept this token."],
    [token("nia", ["tea"], { secret: "another-secret-than-the-one-of-the-server" }), "token", "The server doesn't accept this token."],
    [token("nia", ["tea"], { ttl_s: -5 }), "token", "This token has expired. Ask for a new one."],
    [token("ann", ["tea"]), "name", "This token is for ann. Leave the name empty to enter with it."],
  ]) {
    await nia.getByLabel("Access token").fill(given);
    await nia.getByRole("button", { name: "Enter" }).click();
    // What stands there may be of the attempt before, until this one is over.
    await nia.locator("#entry-form:not([aria-busy])").waitFor();
    await nia.locator(`#entry-${at}-error`, { hasText: text }).waitFor();
    await counts(nia.locator("#entry .error:visible"), 1);
    await nia.locator("#app").waitFor({ state: "hidden" });
    await shot(nia, `desktop-refused-${at}`);
  }
  await nia.getByLabel("Your name").fill("");
  await nia.getByRole("button", { name: "Enter" }).click();
  await connected(nia);
  await gives("the name", () => nia.locator("#self-name").textContent(), "ann");
  await inFront(nia, "# tea");
  await gives("the rooms", () => labels(nia), ["tea"]);
  await nia.context().close();
});

await claim("a link with a token leads right in, a second window hears it, and a closed room is told in words", async () => {
  const [ann, bob] = [await visitor("ann", `${guarded.origin}/#token=${token("ann", ["tea", "team-*"])}`), await visitor("bob", guarded.origin)];
  await connected(ann);
  await until("the token is out of the address", () => !ann.url().includes("token"));
  await bob.getByRole("button", { name: "I have an access token" }).click();
  await enter(bob, { token: token("bob", ["*"]) });
  await bob.getByRole("heading", { name: "# lobby" }).waitFor();
  await join(bob, "tea");
  await say(bob, "Hello ann");
  await heard(ann, "Hello ann");
  await join(ann, "secret");
  await ann.getByText("You can't enter #secret.").waitFor();
  await ann.getByRole("heading", { name: "# tea" }).waitFor();
  await shot(ann, "desktop-closed-room");
  await ann.reload();
  await connected(ann);
  await gives("the rooms", () => labels(ann), ["tea"]);
  for (const page of [ann, bob]) await page.context().close();
});

await claim("a token that ends leads back to the form, and what was written is still there", async () => {
  const ida = await visitor("ida", `${guarded.origin}/#token=${token("ida", ["tea"], { ttl_s: 12 })}`);
  await connected(ida);
  await field(ida).fill("a draft");
  await ida.getByText("This token has expired. Ask for a new one.").waitFor({ timeout: 60_000 });
  await ida.locator("#app").waitFor({ state: "hidden" });
  await enter(ida, { token: token("ida", ["tea"]) });
  await gives("the draft is there", () => field(ida).inputValue(), "a draft");
  await ida.context().close();
});

await claim("no page complained", () => assert.deepEqual(complaints, []));

await server.end();
await guarded.end();
await finish();
