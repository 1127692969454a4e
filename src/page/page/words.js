/** What went wrong, in words for the person in front; what only an operator can mend stands in the server's log. */

const NOT_SENT = {
  queue_full: "too many messages wait already.",
  too_large: "the message is too long.",
  rate_limited: "that was too much at once. Wait a moment.",
  not_member: "you aren't in this room any more.",
  forbidden: "you may not write here.",
  unavailable: "the server can't take it just now.",
  disk_full: "the server has no room left just now.",
};

/** Why a message wasn't sent. */
export function notSent({ code, message }) {
  if (code === "timeout" || code === "unsettled") return "It isn't known whether this arrived.";
  return `Not sent: ${NOT_SENT[code] ?? (message || code)}`;
}

/** Why a room isn't entered. */
export function notEntered(room, { code }) {
  if (code === "bad_request") return `A room can't be called #${room}.`;
  if (code === "forbidden" || code === "not_member") return `You can't enter #${room}.`;
  return `#${room} can't be entered just now.`;
}

const LOST = {
  1001: "The server restarts.",
  1012: "The server restarts.",
  1013: "The server is full just now.",
  4008: "This connection was too slow.",
  4009: "That was too much at once, so the server asks for a pause.",
};

/** Why there is no connection, while another attempt follows. */
export function lost(code) {
  return LOST[code] ?? "The connection is gone.";
}

/** Why there is no connection, and no other attempt without a word from the person. */
export function ended({ closeCode, message }) {
  if (closeCode === 4003) return "You came in from too many other places, so this one was closed.";
  if (closeCode === 4004) return message ? `You were asked to leave: ${message}` : "You were asked to leave.";
  return `The server closed this connection: ${message}`;
}

/** Why the server doesn't let somebody in, beside the field that is at fault. */
export function notAdmitted({ code, closeCode, message }, { token, tokenIsFor }) {
  if (closeCode === 4005) return { field: "token", text: "This token has expired. Ask for a new one." };
  if (closeCode === 4001 || (code === "unauthorized" && token)) {
    return { field: "token", text: "The server doesn't accept this token." };
  }
  if (code === "unauthorized") return { field: "token", text: "This server asks for an access token." };
  if (code === "forbidden" && token) {
    const whose = tokenIsFor ? `This token is for ${tokenIsFor}.` : "This token is for somebody else.";
    return { field: "name", text: `${whose} Leave the name empty to enter with it.` };
  }
  if (code === "bad_request") return { field: "name", text: "The server doesn't take this name. Choose another one." };
  return { field: null, text: `The server doesn't let you in: ${message || code}` };
}
