/**
 * What an access token says of its user: the name, and rooms to begin in.
 *
 * Nothing here judges a token, which only the server can: what can't be read is just not known.
 */

/** Reads a JWT's claims (RFC 7519 §3), without looking at its signature. */
export function readToken(token) {
  try {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const { sub, rooms } = JSON.parse(new TextDecoder().decode(bytes));
    const uid = typeof sub === "number" ? String(sub) : sub;
    const patterns = Array.isArray(rooms) ? rooms.filter((room) => typeof room === "string") : [];
    return { uid: typeof uid === "string" ? uid : null, rooms: roomsOf(patterns) };
  } catch {
    return { uid: null, rooms: [] };
  }
}

/** The rooms that patterns name outright; `lobby` where all rooms are allowed. */
function roomsOf(patterns) {
  const named = patterns.filter((pattern) => pattern !== "" && !pattern.includes("*"));
  return named.length === 0 && patterns.includes("*") ? ["lobby"] : [...new Set(named)];
}
