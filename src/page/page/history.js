/**
 * What was said before: a room's history page by page, and the history of one's own channel, from
 * which all private conversations are made.
 */

const HISTORY_PAGE = 50;
const INBOX_PAGE = 100;
/** Pages of the inbox that one scroll up may read to find something of this conversation. */
const INBOX_PAGES_MAX = 5;

export class History {
  #client;
  #chat;
  #inbox = { epoch: null, oldest: 0, more: false, loaded: false };

  constructor(client, chat) {
    this.#client = client;
    this.#chat = chat;
  }

  /** Whether something older than what is shown of a conversation can be had. */
  hasMore(conversation) {
    return conversation.isPrivate ? this.#inbox.more : conversation.more;
  }

  async openRoom(conversation, epoch, offset) {
    if (conversation.loaded) return;
    conversation.loaded = true;
    conversation.epoch = epoch;
    conversation.more = offset > 0;
    await this.older(conversation, offset + 1);
    this.#chat.countUnread(conversation);
  }

  async openInbox(epoch, offset) {
    if (this.#inbox.loaded) return;
    this.#inbox = { epoch, oldest: offset + 1, more: offset > 0, loaded: true };
    try {
      await this.#olderInbox();
    } catch {
      // scrolling up asks again
    }
    for (const conversation of this.#chat.all()) {
      if (conversation.isPrivate) this.#chat.countUnread(conversation);
    }
  }

  /** One's own channel began anew. */
  restartInbox(epoch) {
    this.#inbox = { epoch, oldest: 0, more: false, loaded: true };
  }

  /** Fetches what was said in a room before `before`; it stands after `divider`, or at the top. */
  async older(conversation, before, divider = null) {
    if (!(before > 1) || conversation.loading) return;
    const { epoch, key } = conversation;
    conversation.loading = true;
    this.#chat.changed();
    try {
      const page = await this.#client.history(key, { before, limit: HISTORY_PAGE });
      if (page.epoch !== epoch || conversation.epoch !== epoch) return;
      this.#chat.prepend(conversation, inOrder(page.messages), divider);
      if (!divider) conversation.more = page.more;
    } catch {
      // scrolling up asks again
    } finally {
      conversation.loading = false;
      this.#chat.changed();
    }
  }

  /** Fetches what stands above the first message of a conversation. */
  async scrolledUp(conversation) {
    if (conversation.loading || this.#client.state !== "online") return;
    if (conversation.isRoom && conversation.more) {
      const before = conversation.oldestOffset;
      if (before === null) conversation.more = false;
      else await this.older(conversation, before);
    } else if (conversation.isPrivate && this.#inbox.more) {
      conversation.loading = true;
      this.#chat.changed();
      try {
        for (let n = 0; n < INBOX_PAGES_MAX; n++) {
          if (await this.#olderInbox(conversation.key)) break;
        }
      } catch {
        // scrolling up asks again
      }
      conversation.loading = false;
      this.#chat.changed();
    }
  }

  /** Fetches a page of the inbox; true when it holds something of `wanted`. */
  async #olderInbox(wanted = null) {
    const { epoch, oldest } = this.#inbox;
    if (!this.#inbox.more) return false;
    const page = await this.#client.history(`@${this.#client.uid}`, { before: oldest, limit: INBOX_PAGE });
    if (page.epoch !== epoch || this.#inbox.epoch !== epoch) return false;
    const pages = new Map();
    for (const message of inOrder(page.messages)) {
      const key = this.#chat.keyOf(message);
      pages.set(key, [...(pages.get(key) ?? []), message]);
      this.#inbox.oldest = Math.min(this.#inbox.oldest, message.offset);
    }
    this.#inbox.more = page.more && page.messages.length > 0;
    for (const [key, messages] of pages) {
      const conversation = this.#chat.conversation(key);
      conversation.epoch = epoch;
      this.#chat.prepend(conversation, messages);
    }
    this.#chat.changed();
    return pages.has(wanted);
  }
}

function inOrder(messages) {
  return [...messages].sort((a, b) => a.offset - b.offset);
}
