/** Types of the tidings client, `/client.js`. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A position in a channel; offsets count from 1 within an epoch. */
export interface Position {
  epoch: string;
  offset: number;
}

/** A position with its channel. */
export interface Place extends Position {
  channel: string;
}

/** From where to hear a channel: a position (offset 0: all that is kept), or this user's last ack. */
export type Resume = Position | "acked";

export interface Message<Data = any> {
  channel: string;
  /** Missing, as `offset` is, on messages that aren't kept. */
  epoch?: string;
  offset?: number;
  id: string;
  /** Null when the sender gave no name. */
  from: string | null;
  /** Only on private messages. */
  to?: string;
  /** Unix time in milliseconds. */
  ts: number;
  data: Data;
}

export interface ChannelInfo {
  epoch: string;
  /** The newest offset at the moment of joining. */
  offset: number;
  recovered?: boolean;
  members?: number;
}

export interface SayAnswer {
  channel: string;
  epoch?: string;
  offset?: number;
  id: string;
  duplicate?: boolean;
  /** Connections subscribed then; no proof of delivery. */
  receivers: number;
}

export interface HistoryAnswer<Data = any> {
  channel: string;
  epoch: string;
  /** The channel's newest offset. */
  offset: number;
  messages: Message<Data>[];
  more: boolean;
}

export interface WhoAnswer {
  users: string[];
  /** How many users are there, where the server says so; more than `users` when it cut the list. */
  users_total?: number;
  connections: number;
}

export type Target =
  | { room: string }
  | { user: string }
  | { fd: number }
  | { all: true }
  /** `"lobby"`, `"@bob"` or `"*"`. */
  | string;

export type State = "idle" | "connecting" | "online" | "waiting" | "closed";

export interface StateChange {
  state: State;
  previous: State;
  /** With `waiting`: milliseconds until the next attempt. */
  delay?: number;
  attempt?: number;
  /** The close code; 0 when the connection was given up without one. */
  code?: number;
  reason?: string;
  /** With `closed`: why there is no further attempt. */
  error?: TidingsError;
}

/** Some messages can't be had any more. What comes next starts after `offset`. */
export interface Hole {
  channel: string;
  epoch: string;
  offset: number;
  recovered?: false;
  /** Where this client stood before, if it stood anywhere. */
  previous?: Position | null;
}

export interface Events {
  message: Message;
  /** A user came into a room, or left it; only in rooms of up to 200 users. */
  joined: { room: string; uid: string };
  left: { room: string; uid: string };
  /**
   * In a room this large comings and goings aren't told any more, or (with the users, up to 1,000
   * of them) again.
   */
  presence: { room: string; state: "on" | "off"; users?: string[]; users_total?: number; more?: boolean };
  /** A hole within one epoch. */
  gap: Hole;
  /** The channel's history began anew: another epoch. */
  restarted: Hole;
  /** After every login, the first one and those of reconnects. */
  login: { fd: number; node?: string; channels: Record<string, ChannelInfo> };
  state: StateChange;
  kick: { code: string; message: string };
  /** The server goes away and asks to come back after that long. */
  drain: { after_ms: number };
  /**
   * A failure that no promise tells of; `room` is set when it cost the membership of one. A frame
   * that can't be read has the code `unreadable`, and a message's `position`, which is stepped over.
   */
  error: TidingsError | Error;
}

export interface Clock {
  /** Milliseconds since any fixed point. */
  now(): number;
  setTimeout(run: () => void, ms: number): any;
  clearTimeout(timer: any): void;
}

export interface ClientOptions {
  /** Who to be. With a token it may be left out, and is known after the first login. */
  uid?: string;
  /** `wss://…/ws` (or `https://…/ws`); by default `ws` beside the page. */
  url?: string | URL;
  token?: string;
  /**
   * Asked for a token before every attempt; `refresh` is true when the last one had expired. When it
   * fails it is asked again later, unless the error has `retry: false`, which ends the client.
   */
  getToken?: (why: { refresh: boolean }) => string | Promise<string>;
  rooms?: string[];
  /** Positions kept from an earlier run, by channel. */
  resume?: Record<string, Resume>;
  /** The class to use where there is no global one (Node 20: that of the package `ws`). */
  WebSocket?: new (url: string) => any;
  /**
   * What messages come by where three WebSockets in a row fail: the global ones by default. Without them,
   * WebSockets are tried for ever.
   */
  EventSource?: new (url: string) => any;
  fetch?: typeof fetch;
  /** `Infinity` waits as long as it takes; so does that of a single command. */
  timeout?: number;
  connectTimeout?: number;
  pendingMax?: number;
  backoffBase?: number;
  backoffMax?: number;
  stableAfter?: number;
  probeTimeout?: number;
  ackDelay?: number;
  /** For tests: time and chance. */
  clock?: Clock;
  random?: () => number;
  /** Where `online`, `offline`, `visibilitychange` and `pageshow` are heard; the window by default. */
  wakeups?: Pick<EventTarget, "addEventListener" | "removeEventListener">;
}

export const DEFAULTS: Readonly<{
  timeout: number;
  connectTimeout: number;
  pendingMax: number;
  backoffBase: number;
  backoffMax: number;
  stableAfter: number;
  probeTimeout: number;
  ackDelay: number;
}>;

export class TidingsError extends Error {
  constructor(
    code: string,
    message: string,
    more?: { retry?: boolean; closeCode?: number; room?: string; cause?: unknown; position?: Place },
  );
  /**
   * One of the protocol's codes, or `timeout`, `queue_full`, `closed`, `replaced`, `kicked` (or the
   * application's own word for that), `unreadable`, `unusable`.
   */
  code: string;
  /** Whether the same command may succeed later. */
  retry: boolean;
  closeCode?: number;
  room?: string;
  /** Where the message stands that couldn't be read. */
  position?: Place;
}

/** An id of 32 characters that nobody else makes. */
export function makeId(): string;

export class Client {
  /** @throws {TypeError} when no attempt could succeed: no WebSocket, no address, odd options */
  constructor(options: ClientOptions);
  readonly uid: string | null;
  readonly state: State;
  readonly fd: number | null;
  readonly rooms: string[];
  readonly pending: number;
  position(channel: string): Position | null;
  /** Returns the function that ends it. */
  on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void;
  connect(): Promise<{ channels?: Record<string, ChannelInfo> }>;
  close(): void;
  /** Probes a silent connection, or ends the wait for the next attempt. */
  wake(): void;
  renew(token?: string): Promise<void>;
  join(room: string, options?: { resume?: Resume; timeout?: number }): Promise<ChannelInfo>;
  leave(room: string, options?: { timeout?: number }): Promise<void>;
  say(
    to: Target,
    data: Json,
    options?: { id?: string; store?: boolean; from?: string; timeout?: number },
  ): Promise<SayAnswer>;
  history<Data = any>(
    channel: string,
    options?: { after?: number; before?: number; limit?: number; timeout?: number },
  ): Promise<HistoryAnswer<Data>>;
  who(room: string, options?: { timeout?: number }): Promise<WhoAnswer>;
  online(users: string[], options?: { timeout?: number }): Promise<Record<string, boolean>>;
  ack(channel: string, offset: number): void;
}
