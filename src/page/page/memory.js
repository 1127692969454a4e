/**
 * What the browser remembers: `memory` for good, `session` for this tab (a reload included).
 *
 * Without a storage (private windows, a full disk) the page only forgets more.
 */
export const memory = remembering("localStorage");
export const session = remembering("sessionStorage");

function remembering(storage) {
  return {
    get(name, missing) {
      try {
        return JSON.parse(globalThis[storage].getItem(`tidings.${name}`)) ?? missing;
      } catch {
        return missing;
      }
    },
    /** Keeps a value; null takes it away. False when it couldn't be kept. */
    set(name, value) {
      try {
        if (value === null) globalThis[storage].removeItem(`tidings.${name}`);
        else globalThis[storage].setItem(`tidings.${name}`, JSON.stringify(value));
        return true;
      } catch {
        return false;
      }
    },
  };
}
