/** What follows the end of a connection: never again, or again after a wait. */
import { TidingsError } from "./error.js";

/**
 * Close codes after which another attempt would end the same way, and the code of the error that
 * says so. After every other code the client comes back: those of the transport (1001, 1006, 1011,
 * 1012, 1013), the server's passing ones (4008, 4009, 4010) and codes that it doesn't know.
 */
const FINAL_CLOSES = new Map([
  [1002, "bad_request"],
  [1003, "bad_request"],
  [1007, "bad_request"],
  [1008, "forbidden"],
  [1009, "too_large"],
  [4001, "unauthorized"],
  [4003, "replaced"],
  [4004, "kicked"],
]);
export const TOO_BIG = 1009;
const OVER_CAPACITY = 1013;
const NO_LOGIN = 4002;
const KICKED = 4004;
const TOKEN_EXPIRED = 4005;
const SLOW_READER = 4008;
const RATE_LIMITED = 4009;
/** A connection that was given up here, without a Close from the server. */
export const GIVEN_UP = 0;
/** A connection that ended without a Close (RFC 6455 §7.1.5). */
export const ABNORMAL = 1006;

/** Refusals of a login after which the server is to be left in peace for longer. */
const CROWDED = ["rate_limited", "unavailable"];
/** A crowded server isn't asked again before half of this attempt's wait is over. */
const CROWDED_ATTEMPT = 3;

/** Whether the next attempt needs another token than the last one. */
export function needsFreshToken(code) {
  return code === TOKEN_EXPIRED || code === NO_LOGIN;
}

/**
 * The error that ends the client after this close, or null when the next attempt may succeed.
 *
 * @param {{ code: number, reason: string }} close
 * @param {{ kick: object | null, refused: TidingsError | null }} said what the server said before
 * @param {boolean} hasTokens whether the application can be asked for a fresh token
 */
export function finalError({ code, reason }, { kick, refused }, hasTokens) {
  const more = { closeCode: code };
  if (FINAL_CLOSES.has(code)) {
    // The application that throws somebody out may have a word of its own for that.
    const word = code === KICKED && kick ? kick.code : FINAL_CLOSES.get(code);
    const words = kick?.message || refused?.message || reason;
    return new TidingsError(word, words || `closed with code ${code}`, more);
  }
  if (code === TOKEN_EXPIRED && !hasTokens) {
    return new TidingsError("unauthorized", "the token expired and there is no getToken", more);
  }
  if (needsFreshToken(code)) return null;
  if (!refused || refused.retry || CROWDED.includes(refused.code)) return null;
  return new TidingsError(refused.code, refused.message, more);
}

/** The waits between attempts: random, below a bound that doubles with each attempt. */
export class Backoff {
  #options;
  #random;
  attempt = 0;

  constructor(options, random) {
    this.#options = options;
    this.#random = random;
  }

  /** Counts one more attempt and gives the wait before it, in milliseconds. */
  next(code, { refused, onlineFor }) {
    if (onlineFor >= this.#options.stableAfter || (onlineFor !== null && code === SLOW_READER)) this.attempt = 0;
    const isCrowded = code === OVER_CAPACITY || code === RATE_LIMITED || CROWDED.includes(refused?.code);
    if (isCrowded) this.attempt = Math.max(this.attempt, CROWDED_ATTEMPT);
    const bound = Math.min(this.#options.backoffMax, this.#options.backoffBase * 2 ** this.attempt);
    this.attempt += 1;
    return (isCrowded ? 0.5 + this.#random() / 2 : this.#random()) * bound;
  }
}
