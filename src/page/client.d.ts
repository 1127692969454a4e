/** Types of the tidings client, `/client.js`. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A position in a channel; offsets count from 1 within an epoch. */
export interface Position {
  epoch: string;
  offset: number;
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
  /** A failure that no promise tells of; `room` is set when it cost the membership of one. */
  error: TidingsError | Error;
}

export interface Clock {
  /** Milliseconds since any fixed point. */
  now(): number;
  setTimeout(run: () => void, ms: number): any;
  clearTimeout(timer: any): void;
}

export interface ClientOptions {
  /** Who to be; with a token, what its `sub` says. */
  uid: string;
  /** `wss://…/ws`; by default `ws` beside the page. */
  url?: string | URL;
  token?: string;
  /** Asked for a token before every attempt; `refresh` is true when the last one had expired. */
  getToken?: (why: { refresh: boolean }) => string | Promise<string>;
  rooms?: string[];
  /** Positions kept from an earlier run, by channel. */
  resume?: Record<string, Resume>;
  /** The class to use where there is no global one (Node 20: that of the package `ws`). */
  WebSocket?: new (url: string) => any;
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
    more?: { retry?: boolean; closeCode?: number; room?: string },
  );
  /** One of the protocol's codes, or `timeout`, `queue_full`, `closed`, `replaced`, `kicked`. */
  code: string;
  /** Whether the same command may succeed later. */
  retry: boolean;
  closeCode?: number;
  room?: string;
}

/** An id of 32 characters that nobody else makes. */
export function makeId(): string;

export class Client {
  constructor(options: ClientOptions);
  readonly uid: string;
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
