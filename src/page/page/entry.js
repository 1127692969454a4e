/**
 * The form at the door: a name, a token where the server asks for one, and why somebody wasn't let
 * in, beside the field at fault. It stays until the server has taken the login.
 */
import { byId } from "./view.js";
import { memory } from "./memory.js";
import { notAdmitted } from "./words.js";
import { readToken } from "./token.js";

const name = byId("entry-name");
const token = byId("entry-token");
const FIELDS = { name, token };
const NAME_HINT = "Choose the name that others will see.";
const TOKEN_HINT = "The token says who you are. Without one, choose a name.";

/** Shows the form, with what is to be said about the last attempt. */
export function showEntry({ refusal = null, credentials = {} } = {}) {
  byId("app").hidden = true;
  byId("entry").hidden = false;
  document.title = "tidings";
  setBusy(null);
  if (credentials.token) token.value = credentials.token;
  const said = refusal && notAdmitted(refusal, { ...credentials, tokenIsFor: readToken(token.value).uid });
  tell(said);
  if (said?.field === "token" || token.value !== "") showToken();
  (FIELDS[said?.field] ?? name).focus();
}

/** An attempt is under way; `text` says how it stands, null when it is over. */
export function setBusy(text) {
  const isBusy = text !== null;
  byId("entry-status").hidden = !isBusy;
  byId("entry-status").textContent = text ?? "";
  byId("enter").textContent = isBusy ? "Cancel" : "Enter";
  byId("entry-form").toggleAttribute("aria-busy", isBusy);
  for (const field of [name, token]) field.disabled = isBusy;
  byId("entry-with-token").hidden = isBusy || !byId("entry-token-field").hidden;
}

/** Calls `enter` with what was filled in, and `cancel` when an attempt is to be given up. */
export function listenToEntry({ enter, cancel }) {
  name.value = memory.get("name", "");
  byId("entry-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (byId("entry-form").hasAttribute("aria-busy")) return cancel();
    const credentials = { name: name.value.trim(), token: token.value.trim() };
    if (credentials.name !== "" || credentials.token !== "") return enter(credentials);
    tell({ field: "name", text: "Choose a name first." });
    name.focus();
  });
  byId("entry-with-token").addEventListener("click", () => {
    showToken();
    token.focus();
  });
}

function showToken() {
  byId("entry-token-field").hidden = false;
  byId("entry-with-token").hidden = true;
  byId("entry-hint").textContent = TOKEN_HINT;
}

function tell(said) {
  for (const [field, element] of [["name", byId("entry-name-error")], ["token", byId("entry-token-error")], [null, byId("entry-error")]]) {
    const isHere = said !== null && said.field === field;
    element.hidden = !isHere;
    element.textContent = isHere ? said.text : "";
    FIELDS[field]?.setAttribute("aria-invalid", String(isHere));
  }
}

/** Leaves the form: the server has taken the login. */
export function hideEntry() {
  setBusy(null);
  tell(null);
  token.value = "";
  byId("entry-token-field").hidden = true;
  byId("entry-with-token").hidden = false;
  byId("entry-hint").textContent = NAME_HINT;
  byId("entry").hidden = true;
  byId("app").hidden = false;
}
