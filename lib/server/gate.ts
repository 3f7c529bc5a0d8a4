/**
 * What a connection passes before it is served: the TLS handshake and the token, if the server asks
 * for them.
 *
 * Who has not passed is a stranger, and takes nothing of what others have: no place among the
 * connections, no number, no room. Strangers have places of their own. If these are all taken, the
 * address that has most of them loses the one that has been there longest: an honest peer passes
 * within milliseconds.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import {
  formatReason,
  formatReply,
  parseProducerCommand,
  ProtocolError,
  type Reason,
} from "../core/protocol.ts";
import type { Line } from "../line.ts";
import {
  Connection,
  type ConnectionGroup,
  isDisconnect,
  isTlsHandshake,
  readFirst,
} from "../net/connection.ts";
import type { SecureStream, Stream } from "../net/stream.ts";
import { escape } from "../quote.ts";
import type { Access } from "./access.ts";

/** Most strangers at a time, both ports together. */
export const maxStrangers = 100;

/** How long a handshake may take, and then the wait for the token, in milliseconds. */
const strangerMs = 5000;

/** What a server asks of those who connect, and what the gate needs for that. */
export interface GateOptions {
  /** Whose token is asked for; nobody's if left out. */
  readonly access?: Access | undefined;
  /** Does the handshake; left out if there is none. */
  readonly secure?: SecureStream | undefined;
  /** What the connections share. */
  readonly group: ConnectionGroup;
  /** Tells the time. */
  readonly clock: Clock;
  /** Takes a line for the operator about a stranger. */
  readonly complain: (peer: string, topic: string, reason: string) => void;
}

/** A connection that has not passed. */
interface Stranger {
  readonly address: string;
  /** Its address and port. */
  readonly peer: string;
  /** Closes it at once. */
  readonly close: () => void;
  /** Closes it after a last line: in TLS if the handshake is over, else without. */
  dismiss: (reason: Reason) => Promise<void>;
  /** What its present step waits for, as the operator is told if it takes too long. */
  step: "TLS handshake" | "token";
  /** True until it has sent a byte. */
  isSilent: boolean;
  /** Why it was closed, if it was. */
  closedFor?: string;
}

/** Lets connections in. */
export class Gate {
  readonly #options: GateOptions;
  /** By address, in the order in which they came. */
  readonly #strangers = new Map<string, Set<Stranger>>();
  #count = 0;
  readonly #admitting = new Set<Promise<unknown>>();
  #isClosed = false;

  /** Makes a gate before which nobody stands. */
  constructor(options: GateOptions) {
    this.#options = options;
  }

  /**
   * Has a connection pass; never rejects.
   *
   * @returns the connection, to be closed by the caller; undefined if it did not pass, and is closed.
   */
  async admit(stream: Stream): Promise<Connection | undefined> {
    const { hostname: address, port } = stream.remoteAddr;
    if (this.#isClosed || this.#options.access?.isBlocked(address)) {
      stream.close();
      return undefined;
    }
    // A step may not notice that its stream is closed, TLS for one. The place is free all the same.
    const left = Promise.withResolvers<undefined>();
    const stranger: Stranger = {
      address,
      peer: `${address}:${port}`,
      close: () => {
        left.resolve(undefined);
        try {
          stream.close();
        } catch {
          // It is closed already.
        }
      },
      dismiss: async (reason) => await refuse(new Connection(stream, this.#options.group), reason),
      step: this.#options.secure === undefined ? "token" : "TLS handshake",
      isSilent: true,
    };
    this.#add(stranger);
    const passing = Promise.race([this.#pass(stranger, stream), left.promise]);
    const admitting = passing.catch((error) => {
      // Who goes by itself is nobody's business: whoever looks whether a port is open does.
      if (!isDisconnect(error)) {
        stranger.closedFor ??= `${stranger.step} failed: ${messageOf(error)}`;
      }
      return undefined;
    });
    this.#admitting.add(admitting);
    const connection = await admitting;
    this.#admitting.delete(admitting);
    this.#remove(stranger);
    if (connection !== undefined && !this.#isClosed) return connection;
    stranger.close();
    if (stranger.closedFor !== undefined && !this.#isClosed) {
      this.#options.complain(stranger.peer, stranger.step, stranger.closedFor);
    }
    return undefined;
  }

  /** Closes it: all strangers are closed, and nobody passes any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const strangers of this.#strangers.values()) {
      for (const stranger of strangers) stranger.close();
    }
    await Promise.all(this.#admitting);
  }

  async #pass(stranger: Stranger, stream: Stream): Promise<Connection | undefined> {
    const secured = await this.#within(stranger, () => this.#secure(stranger, stream));
    if (secured === undefined) return undefined;
    const connection = new Connection(secured, this.#options.group);
    const { access } = this.#options;
    if (access === undefined) return connection;
    stranger.step = "token";
    stranger.dismiss = (reason) => refuse(connection, reason);
    const isRight = await this.#within(stranger, () => authenticate(connection, access, stranger));
    if (isRight) return connection;
    if (isRight === undefined) return undefined;
    const speaksTls = connection.speaksTls && this.#options.secure === undefined;
    await stranger.dismiss(
      speaksTls ? { kind: "not spoken", protocol: "TLS" } : { kind: "authentication required" },
    );
    return undefined;
  }

  /** Does the handshake, if one is asked for; undefined if the peer is gone or has begun none. */
  async #secure(stranger: Stranger, stream: Stream): Promise<Stream | undefined> {
    const { secure } = this.#options;
    if (secure === undefined) return stream;
    const first = await readFirst(stream);
    stranger.isSilent = false;
    if (first === null) return undefined;
    if (isTlsHandshake(first)) return await secure(stream, first);
    stranger.closedFor = "does not speak TLS";
    await stranger.dismiss({ kind: "TLS required" });
    return undefined;
  }

  /** Does a step, which must not take longer than its time. */
  async #within<T>(stranger: Stranger, step: () => Promise<T>): Promise<T> {
    const cancel = this.#options.clock.after(strangerMs, () => {
      stranger.closedFor = `no ${stranger.step} within ${strangerMs / 1000} s`;
      // Who says nothing may be a consumer that waits for a greeting, and knows no better.
      const reason = reasonFor(stranger);
      if (reason === undefined) stranger.close();
      else stranger.dismiss(reason).then(stranger.close, stranger.close);
    });
    try {
      return await step();
    } finally {
      cancel();
    }
  }

  #add(stranger: Stranger): void {
    if (this.#count >= maxStrangers) this.#makeRoom();
    const others = this.#strangers.get(stranger.address);
    if (others === undefined) this.#strangers.set(stranger.address, new Set([stranger]));
    else others.add(stranger);
    this.#count++;
  }

  #remove(stranger: Stranger): void {
    const others = this.#strangers.get(stranger.address);
    if (!others?.delete(stranger)) return;
    this.#count--;
    if (others.size === 0) this.#strangers.delete(stranger.address);
  }

  /** Closes the oldest stranger of the address that has most. Cost: O(addresses), 100 at most. */
  #makeRoom(): void {
    let most: Set<Stranger> | undefined;
    for (const strangers of this.#strangers.values()) {
      if (most === undefined || strangers.size > most.size) most = strangers;
    }
    const [oldest] = most ?? [];
    if (oldest === undefined) return;
    oldest.closedFor = `closed before its ${oldest.step}: ${maxStrangers} others wait for theirs`;
    this.#remove(oldest);
    oldest.close();
  }
}

/**
 * Takes the first line, and puts what came behind it back.
 *
 * @returns whether it was the token; undefined if the peer is gone.
 */
async function authenticate(
  connection: Connection,
  access: Access,
  stranger: Stranger,
): Promise<boolean | undefined> {
  for (;;) {
    const lines = await connection.readLines();
    if (lines === undefined) return undefined;
    stranger.isSilent = false;
    if (connection.speaksTls) return false;
    const [first, ...rest] = lines;
    if (first === undefined) continue;
    const token = tokenIn(first);
    if (token === undefined) {
      stranger.closedFor = "authentication required: the first line is no AUTH";
      return false;
    }
    connection.putBack(rest);
    return await access.check(stranger.address, token);
  }
}

/** The token of an `AUTH` line; undefined if it is another line. */
function tokenIn(line: Line): string | undefined {
  if (typeof line !== "string") return undefined;
  try {
    // The verb is the same on both ports.
    const command = parseProducerCommand(line);
    return command.kind === "auth" ? command.token : undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return undefined;
    throw error;
  }
}

/** What is said to a stranger whose time is over; undefined if it may be amid a handshake. */
function reasonFor({ step, isSilent }: Stranger): Reason | undefined {
  if (step === "token") return { kind: "authentication required" };
  return isSilent ? { kind: "TLS required" } : undefined;
}

async function refuse(connection: Connection, reason: Reason): Promise<void> {
  connection.send(formatReply({ kind: "error", reason: formatReason(reason) }));
  connection.flush();
  await connection.closeGently();
}

function messageOf(error: unknown): string {
  return escape(error instanceof Error ? error.message : String(error));
}
