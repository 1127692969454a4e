/**
 * Judges the page's scripts without installing anything: whether they parse, how large they are,
 * what they import and which names they leave unused. Exits with 1 when something is wrong.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const FOLDERS = ["src/page/client", "src/page/page", "tests/page"];
/** A file is one noun; the client's own interface, with its comments, needs the most. */
const LINES_MAX = 500;
const LARGER = { "src/page/client/client.js": 830 };
/** Longer lines are tables; prose and code end before. */
const COLUMNS_MAX = 220;

const complaints = [];
const complain = (file, text) => complaints.push(`${file}: ${text}`);

for (const folder of FOLDERS) {
  const names = readdirSync(ROOT + folder).filter((name) => /\.m?js$/.test(name));
  for (const name of names) {
    const file = `${folder}/${name}`;
    const text = readFileSync(ROOT + file, "utf8");
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "--check"], { input: text, encoding: "utf8" });
    if (status !== 0) complain(file, `doesn't parse: ${stderr.trim()}`);
    const lines = text.split("\n");
    const most = LARGER[file] ?? LINES_MAX;
    if (lines.length > most) complain(file, `${lines.length} lines, but at most ${most} are wanted: split it by noun`);
    lines.forEach((line, n) => {
      if (line.length > COLUMNS_MAX) complain(file, `line ${n + 1} has ${line.length} columns`);
      if (/\s$/.test(line)) complain(file, `line ${n + 1} ends in a space`);
      if (/^\s*(var|debugger)\b/.test(line) || /[^=!<>]==[^=]|!=[^=]/.test(line.replace(/(["'`/]).*?\1/g, ""))) complain(file, `line ${n + 1}: var, debugger, == and != aren't used here`);
    });
    if (!text.startsWith("/**")) complain(file, "begins without a comment that says what it is");
    judgeImports(file, text, folder, names);
  }
}

/** Each import is there and used; each export of the page and the client is imported somewhere. */
function judgeImports(file, text, folder, names) {
  for (const [line, list, from] of text.matchAll(/^import \{([^}]*)\} from "([^"]+)";$/gm)) {
    const rest = text.replace(line, "");
    for (const imported of list.split(",").map((one) => one.trim().split(" as ").at(-1)).filter(Boolean)) {
      if (!new RegExp(`\\b${imported.replace("$", "\\$")}\\b`).test(rest)) complain(file, `imports ${imported} and doesn't use it`);
    }
    const isLocal = from.startsWith("./") && from !== "./client.js";
    if (isLocal && !names.includes(from.slice(2))) complain(file, `imports ${from}, which isn't there`);
  }
  for (const [, name] of text.matchAll(/^(?:export )?(?:async )?(?:function|class|const|let) (\w+)/gm)) {
    const uses = text.match(new RegExp(`\\b${name}\\b`, "g")).length;
    const isExported = new RegExp(`^export (?:async )?(?:function|class|const|let) ${name}\\b`, "m").test(text);
    if (uses < 2 && !isExported) complain(file, `${name} isn't used`);
    const elsewhere = FOLDERS.flatMap((one) => readdirSync(ROOT + one).filter((other) => /\.m?js$/.test(other)).map((other) => `${one}/${other}`));
    const isWanted = elsewhere.some((other) => other !== file && new RegExp(`\\b${name}\\b`).test(readFileSync(ROOT + other, "utf8")));
    if (isExported && !isWanted) complain(file, `${name} is exported and nobody wants it`);
  }
}

for (const line of complaints) console.error(line);
console.log(complaints.length === 0 ? "the scripts are in order" : `${complaints.length} complaints`);
process.exitCode = complaints.length === 0 ? 0 : 1;
