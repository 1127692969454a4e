/** Reading what the server sends: foreign text, of which nothing is used unchecked. */
import { TidingsError } from "./error.js";

export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
export const isText = (value) => typeof value === "string";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
export const isCount = (value) => Number.isSafeInteger(value) && value >= 0;
export const isOffset = (value) => Number.isSafeInteger(value) && value >= 1;
const isName = (value) => isText(value) && value !== "";
const isFlag = (value) => typeof value === "boolean";
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isThere = (value) => value !== undefined;
const optional = (fits) => (value) => value === undefined || fits(value);
const nullable = (fits) => (value) => value === null || fits(value);
const PLACE = { epoch: optional(nullable(isText)), offset: optional(nullable(isCount)) };
const isChannels = (value) => isObject(value) && Object.values(value).every((info) => isObject(info) && !wrongField(PLACE, info));

/** What each frame has to hold for this client to use it; other fields are passed on as they are. */
const FIELDS = new Map([
  ["hello", { fd: optional(isCount), node: optional(isText), ping: optional(isNumber), max: optional(isNumber) }],
  ["ok", { seq: nullable(Number.isInteger), channels: optional(isChannels) }],
  ["err", { seq: optional(nullable(Number.isInteger)), code: optional(isText), message: optional(isText), retry: optional(isFlag) }],
  ["msg", { channel: isName, offset: optional(isOffset), epoch: optional(isText), id: optional(isText), from: optional(nullable(isText)), to: optional(isText), ts: optional(isNumber), data: isThere }],
  ["gap", { channel: isName, epoch: isText, offset: isCount }],
  ["drain", { after_ms: isNumber }],
  ["kick", { code: optional(isText), message: optional(isText) }],
  ["joined", { room: isName, uid: isText }],
  ["left", { room: isName, uid: isText }],
  ["presence", { room: isName, state: (value) => value === "on" || value === "off", users: optional(isTexts), users_total: optional(isCount) }],
]);

/** What the answers to questions have to hold: each names the field at fault, or nothing. */
export const ANSWERS = {
  history: ({ messages, offset }) => (Array.isArray(messages) ? (optional(isCount)(offset) ? null : "offset") : "messages"),
  who: ({ users }) => (isTexts(users) ? null : "users"),
  online: ({ online }) => (isObject(online) ? null : "online"),
};

function wrongField(fields, value) {
  return Object.keys(fields).find((name) => !fields[name](Object.hasOwn(value, name) ? value[name] : undefined));
}

/** The error of a frame that can't be read; `type` and `seq` are the frame's, where they can be read. */
export function unreadable(what, { type, seq, position } = {}) {
  const error = new TidingsError("unreadable", `the server sent ${what}`, { position });
  return Object.assign(error, { type, seq });
}

/** Reads a frame; throws a `TidingsError` that names what can't be read, and its position if it has one. */
export function readFrame(text) {
  if (typeof text !== "string") throw unreadable("a frame that is no text");
  let frame;
  try {
    frame = JSON.parse(text);
  } catch {
    throw unreadable("a frame that is no JSON", { position: positionIn(text) });
  }
  if (!isObject(frame) || !isText(frame.type)) throw unreadable("a frame without a type");
  const { type, ...detail } = frame;
  check(type, detail);
  return { type, detail };
}

export function check(type, detail) {
  const fields = FIELDS.get(type);
  if (!fields) throw unreadable(`a frame of the unknown type ${JSON.stringify(type.slice(0, 40))}`);
  if (!isObject(detail)) throw unreadable(`a ${type} that is no object`);
  const wrong = wrongField(fields, detail) ?? (type === "msg" && isThere(detail.offset) && !isThere(detail.epoch) ? "epoch" : undefined);
  if (wrong === undefined) return;
  const { channel, epoch, offset, seq } = detail;
  const PLACEd = type === "msg" && isName(channel) && isText(epoch) && isOffset(offset);
  throw unreadable(`a ${type} frame whose ${wrong} can't be read`, {
    type,
    seq: type === "ok" || type === "err" ? seq : undefined,
    position: PLACEd ? { channel, epoch, offset } : undefined,
  });
}

/** The position of a message that is no JSON: the server writes it before what users wrote. */
function positionIn(text) {
  const found = /^\{"type":"msg","channel":("(?:[^"\\]|\\.)*"),"epoch":"(\w+)","offset":(\d+),/.exec(text);
  if (!found) return undefined;
  try {
    const [channel, epoch, offset] = [JSON.parse(found[1]), found[2], Number(found[3])];
    return isName(channel) && isOffset(offset) ? { channel, epoch, offset } : undefined;
  } catch {
    return undefined;
  }
}
