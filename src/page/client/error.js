/**
 * What went wrong, by one of the protocol's codes or one of the client's own: `timeout`,
 * `queue_full`, `closed`, `unreadable`, `unusable`.
 */
export class TidingsError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retry?: boolean, closeCode?: number, room?: string, cause?: any,
   *   position?: { channel: string, epoch: string, offset: number } }} [more]
   */
  constructor(code, message, { retry = false, closeCode, room, cause, position } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TidingsError";
    this.code = code;
    /** Whether the same command may succeed later. */
    this.retry = retry;
    this.closeCode = closeCode;
    this.room = room;
    /** The place of a message that couldn't be read, where it has one. */
    this.position = position;
  }
}
