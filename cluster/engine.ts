/**
 * A front's connection to the engine, PostgreSQL: finds the primary, and repeats a turn until it is
 * answered. That changes nothing that is done already, since a turn has a number, and the engine
 * keeps the receipt of the last one.
 *
 * @module
 */

// @ts-types="@types/pg"
import pg from "pg";
import { sleep } from "../lib/clock.ts";
import { isOutOfDescriptors } from "../lib/net/connection.ts";
import { UserError } from "../lib/user_error.ts";
import type { Durability } from "./durability.ts";
import type { EngineAddress, Host } from "./engine_address.ts";
import type { Desk } from "./engine_inspection.ts";
import type { TurnMaker } from "./engine_tasks.ts";
import { Sightings } from "./sightings.ts";
import type { TurnArguments } from "./turn.ts";

/** The version of the schema whose turns are made here. */
const schemaVersion = 1;

/** How long a host may take to accept a connection and to say what it is, in milliseconds. */
const connectMs = 3000;

/**
 * How long a turn may take before its connection is given up, in milliseconds: the machine may be
 * gone. While no majority is there a turn waits longer, and is repeated in vain.
 */
const answerMs = 10_000;

/**
 * After how long the engine ends a session whose front has given it up, in milliseconds. A turn that
 * waits for a majority waits on there, and each repetition waits behind it: without an end there would
 * be so many sessions in some minutes that nobody gets in any more.
 */
const leftMs = 2000;

/** The pause before the next host is tried, in milliseconds. */
const retryMs = 50;

/** The outage from which on the operator is told, in milliseconds. */
const outageMs = 1000;

/**
 * Errors after which nothing gets better: a mistake of ours, a schema that is not ours, or tables that
 * somebody else has changed.
 */
const hopeless = /^(?:QF|22|23|42|3F)/;

/**
 * A warning. PostgreSQL has one instead of an error if somebody cancels a commit that waits for a
 * standby: it is done, and on one disk. Asked again, it waits again.
 */
const warningCode = "01000";

/** Errors that somebody must do something about. */
const refusals: Readonly<Record<string, string>> = {
  "28000": "check the user, and pg_hba.conf",
  "28P01": "check the password (PGPASSWORD or --engine-password-file)",
  "3D000": "create the database, and load cluster/schema.sql",
  "3F000": "load cluster/schema.sql into this database",
  "42883": "load cluster/schema.sql into this database",
  "42501": "GRANT queue_front to this user",
};

/** The engine does not know this front any more: it was not seen for too long. */
export class GivenUpError extends Error {
  /** Names the class in messages. */
  override readonly name = "GivenUpError";
}

/** The engine has not answered in time. */
class NoAnswerError extends Error {
  override readonly message = "no answer";
}

/** A connection to the primary. */
interface Session {
  readonly client: pg.Client;
  /** What it has warned of: then its last answer is not to be trusted. */
  warning: string | undefined;
}

/** A task that a front has lost to the engine, because it was given up. */
export interface SweptTask {
  /** The consumer that held it. */
  readonly consumer: number;
  /** The task's name. */
  readonly taskId: string;
  /** True if it is buried; else it is ready again. */
  readonly isBuried: boolean;
}

/** How a front reaches its engine. */
export interface EngineOptions {
  /** Where it is. */
  readonly address: EngineAddress;
  /** Takes what the operator should know. */
  readonly say: (line: string) => void;
  /** Ends all attempts to reach it. */
  readonly signal: AbortSignal;
  /** Has a peer make way if there is no descriptor left to reach it by. */
  readonly makeWay?: () => void;
  /** Ends the attempt to take part, if it comes first. */
  readonly opening?: AbortSignal;
}

/** The engine, as one front has it. */
export class Engine implements TurnMaker, Desk {
  readonly #options: EngineOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #sightings = new Sightings();
  #session: Promise<Session> | undefined;
  /** The host to be tried next. */
  #next = 0;
  /** The one that was tried last. */
  #host = "";
  #front = 0;
  #turn = 0;
  #isOpen = false;
  /** What a host has said that refuses this front; until it is open. */
  #refusal: UserError | undefined;
  #onNotice: () => void = () => {};
  /** Since when nothing was answered; undefined if the last attempt was. */
  #silentSince: number | undefined;
  #hasSaidSilent = false;
  /** Why nothing was answered since then, by host. */
  readonly #reasons = new Map<string, string>();

  private constructor(options: EngineOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /**
   * Connects, and takes part as a new front.
   *
   * @throws {UserError} the primary has another schema; or no host is the primary, and one refuses this
   * user.
   * @throws the signal's reason if that came first.
   */
  static async open(options: EngineOptions): Promise<Engine> {
    const engine = new Engine(options);
    const { opening } = options;
    const abort = () => engine.#stop.abort(opening?.reason);
    opening?.addEventListener("abort", abort);
    try {
      opening?.throwIfAborted();
      const version = await engine.#ask("SELECT queue.version() AS value");
      if (Number(version) < schemaVersion) {
        throw new UserError(
          `The engine has schema ${version}, this front needs ${schemaVersion}: load the newer one`,
        );
      }
      engine.#front = Number(await engine.#ask("SELECT queue.open_front() AS value"));
      engine.#isOpen = true;
      return engine;
    } catch (error) {
      engine.#drop();
      throw error;
    } finally {
      opening?.removeEventListener("abort", abort);
    }
  }

  /**
   * Makes another way to an engine, of which no turns are asked: what an operator asks may take long.
   * It connects when it is first asked.
   */
  static desk(options: EngineOptions): Engine {
    const engine = new Engine(options);
    engine.#isOpen = true;
    return engine;
  }

  /** Has somebody told when another front may have made a task ready. */
  onNotice(notice: () => void): void {
    this.#onNotice = notice;
  }

  /**
   * See {@linkcode TurnMaker.turn}.
   *
   * @throws {GivenUpError} this front was given up.
   * @throws {UserError} the engine has lost what it had confirmed.
   */
  async turn(turn: TurnArguments): Promise<string> {
    this.#turn++;
    return String(await this.#ask(turnText, [this.#front, this.#turn, ...turn]));
  }

  /**
   * See {@linkcode Desk.ask}.
   *
   * @throws {UserError} the engine has another schema.
   */
  async ask(text: string, values: readonly unknown[]): Promise<readonly unknown[] | undefined> {
    const patience = AbortSignal.any([this.#signal, AbortSignal.timeout(answerMs)]);
    const over = Promise.withResolvers<undefined>();
    const end = () => over.resolve(undefined);
    patience.addEventListener("abort", end);
    try {
      const asked = this.#query(text, values, { signal: patience })
        .then(({ rows }) => rows.map(({ value }) => value))
        .catch((error) => {
          if (patience.aborted) return undefined;
          throw error;
        });
      return await Promise.race([asked, over.promise]);
    } finally {
      patience.removeEventListener("abort", end);
    }
  }

  /**
   * Looks at the other fronts, and gives up those that made no turn for {@linkcode looksUntilDead}
   * looks; tells what they held. To be called every 5 s, after the last look has ended.
   */
  async sweep(): Promise<SweptTask[]> {
    const seen = await this.#try("SELECT front, turn FROM queue.others($1)", [this.#front]);
    if (seen === undefined) this.#sightings.forget();
    const dead = this.#sightings.look(
      (seen?.rows ?? []).map(({ front, turn }) => ({ front: Number(front), turn: Number(turn) })),
    );
    if (dead.length === 0) return [];
    const result = await this.#try(
      "SELECT consumer::int8, task_id, is_buried FROM queue.sweep($1, $2)",
      [dead.map(({ front }) => front), dead.map(({ turn }) => turn)],
    );
    return (result?.rows ?? []).map((row) => ({
      consumer: Number(row.consumer),
      taskId: String(row.task_id),
      isBuried: row.is_buried === true,
    }));
  }

  /** What the engine says about when a commit is done. */
  async durability(): Promise<Durability> {
    const { rows } = await this.#query(
      "SELECT current_setting('synchronous_standby_names') AS standbys, " +
        "current_setting('fsync') AS fsync, current_setting('cluster_name') AS name, " +
        "(SELECT count(*)::int FROM pg_stat_replication) AS following",
    );
    const row = rows[0] ?? {};
    return {
      standbyNames: String(row.standbys),
      fsync: row.fsync === "on",
      clusterName: String(row.name),
      following: Number(row.following),
    };
  }

  /** Ends this front's part; what it holds is ready again. */
  async close(): Promise<void> {
    await this.#ask("SELECT queue.close_front($1) AS value", [this.#front]);
    this.#drop();
  }

  /** Closes the connection and no more: the engine finds out by itself. */
  abandon(): void {
    this.#drop();
  }

  async #ask(text: string, values?: readonly unknown[]): Promise<unknown> {
    return (await this.#query(text, values)).rows[0]?.value;
  }

  /** Asks until there is an answer, at whichever host is the primary. */
  async #query(
    text: string,
    values: readonly unknown[] = [],
    { signal = this.#signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<pg.QueryResult<Record<string, unknown>>> {
    const askedMs = performance.now();
    for (;;) {
      const result = await this.#try(text, values, { signal, askedMs });
      if (result !== undefined) return result;
      await sleep(retryMs, signal);
    }
  }

  /** Asks once; undefined if another attempt may succeed. */
  async #try(
    text: string,
    values: readonly unknown[],
    { signal = this.#signal, askedMs = performance.now() }: {
      readonly signal?: AbortSignal;
      readonly askedMs?: number;
    } = {},
  ): Promise<pg.QueryResult<Record<string, unknown>> | undefined> {
    signal.throwIfAborted();
    let isIn = false;
    try {
      const session = await (this.#session ??= this.#connect());
      isIn = true;
      const query = { text, values: [...values], name: text === turnText ? "turn" : undefined };
      const result = await inTime(session.client.query(query as pg.QueryConfig), {
        ...{ ms: answerMs, signal },
      });
      if (session.warning !== undefined) throw new Error(session.warning);
      this.#noteAnswer();
      return result as pg.QueryResult<Record<string, unknown>>;
    } catch (error) {
      this.#drop();
      signal.throwIfAborted();
      const refusal = explainRefusal(error, this.#host);
      const end = explain(error, refusal) ?? this.#endOfOpening(refusal);
      if (end !== undefined) throw end;
      // It may be a primary that no standby follows any more, since another one was promoted.
      if (isIn && error instanceof NoAnswerError) this.#next++;
      if (isOutOfDescriptors(error)) this.#options.makeWay?.();
      this.#noteSilence(error, askedMs);
      return undefined;
    }
  }

  /**
   * What a host has said that refuses this front, once each host was tried: another one may be the
   * primary. A front that is open has clients, and waits.
   */
  #endOfOpening(refusal: UserError | undefined): UserError | undefined {
    if (this.#isOpen) return undefined;
    this.#refusal ??= refusal;
    return this.#next < this.#options.address.hosts.length ? undefined : this.#refusal;
  }

  /** Connects to the next host, which must be the primary. */
  async #connect(): Promise<Session> {
    const { address } = this.#options;
    const signal = this.#signal;
    const host = address.hosts[this.#next++ % address.hosts.length] as Host;
    this.#host = `${host.hostname}:${host.port}`;
    const client = new pg.Client({
      ...{ host: host.hostname, port: host.port, user: address.user, database: address.database },
      // A function: without a password the driver would look for a file in the user's home.
      password: () => address.password ?? Deno.env.get("PGPASSWORD") ?? "",
      ssl: address.usesTls,
      keepAlive: true,
      application_name: "queue front",
      connectionTimeoutMillis: connectMs,
    });
    // Of a connection that fails between two queries nobody else is told: the next one finds out.
    client.on("error", () => {});
    client.on("notification", () => this.#onNotice());
    try {
      await client.connect();
      await inTime(prepare(client), { ms: connectMs, signal });
      // The one that works is tried first.
      this.#next--;
      const session: Session = { client, warning: undefined };
      client.on("notice", (notice) => {
        if (notice.code === warningCode) session.warning = notice.message;
      });
      return session;
    } catch (error) {
      end(client);
      throw error;
    }
  }

  /** Lets go of the connection, or of the attempt at one. */
  #drop(): void {
    this.#session?.then(({ client }) => end(client), () => {});
    this.#session = undefined;
  }

  #noteSilence(error: unknown, askedMs: number): void {
    this.#silentSince ??= askedMs;
    if (this.#hasSaidSilent) return;
    this.#reasons.set(this.#host, error instanceof Error ? error.message : String(error));
    if (performance.now() - this.#silentSince < outageMs) return;
    this.#hasSaidSilent = true;
    const reasons = this.#reasons.entries().map(([host, reason]) => `${host}: ${reason}`);
    this.#options.say(`engine: ${[...reasons].join("; ")}: clients wait`);
  }

  #noteAnswer(): void {
    if (this.#hasSaidSilent && this.#silentSince !== undefined) {
      const seconds = (performance.now() - this.#silentSince) / 1000;
      this.#options.say(`engine is back after ${seconds.toFixed(1)} s`);
    }
    this.#silentSince = undefined;
    this.#hasSaidSilent = false;
    this.#reasons.clear();
  }
}

/** The call of a turn: its arguments are the front's number, the turn's, and the turn itself. */
const turnText = `SELECT queue.turn_1(${
  Array.from({ length: 24 }, (_, i) => `$${i + 1}`).join(", ")
}) AS value`;

/** What ends this front; undefined if another attempt may succeed. */
function explain(error: unknown, refusal: UserError | undefined): Error | undefined {
  const code = codeOf(error);
  if (code === undefined || !(error instanceof Error)) return undefined;
  const { message } = error;
  if (code === "QF001") return new GivenUpError(message);
  if (code === "QF002") {
    return new UserError(
      `THE ENGINE HAS LOST CONFIRMED WORK: ${message}. A standby was promoted that did not have ` +
        "it all: stop the fronts, and find the node that has it",
    );
  }
  return hopeless.test(code) ? refusal ?? error : undefined;
}

/** Says what somebody must do about an error; undefined if it is none of these. */
function explainRefusal(error: unknown, host: string): UserError | undefined {
  const hint = refusals[codeOf(error) ?? ""];
  if (hint === undefined) return undefined;
  return new UserError(`The engine refuses: ${host}: ${(error as Error).message}: ${hint}`);
}

/** The SQLSTATE of an error; undefined if it has none. */
function codeOf(error: unknown): string | undefined {
  if (error instanceof pg.DatabaseError) return error.code ?? "";
  // The driver's own words if a password is asked for, and there is none.
  return error instanceof Error && /\bSASL\b/.test(error.message) ? "28P01" : undefined;
}

/**
 * Has a new session work as a front needs it.
 *
 * @throws {Error} it is not at the primary.
 */
async function prepare(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ standby: boolean }>(
    "SELECT pg_is_in_recovery() AS standby",
  );
  if (rows[0]?.standby !== false) throw new Error("it is a standby");
  // It waits for the disks of a majority, whatever the user's default is.
  await client.query("SET synchronous_commit = on; LISTEN queue");
  // Some systems cannot tell the engine that a connection was closed.
  await client.query(`SET client_connection_check_interval = ${leftMs}`).catch(() => {});
}

/** Closes a connection without waiting for the other side. */
function end(client: pg.Client): void {
  client.end().catch(() => {});
}

/** Waits for a promise for some time; the work behind it is not cancelled. */
async function inTime<T>(
  promise: Promise<T>,
  { ms, signal }: {
    readonly ms: number;
    readonly signal: AbortSignal;
  },
): Promise<T> {
  promise.catch(() => {});
  const late = Promise.withResolvers<never>();
  late.promise.catch(() => {});
  const timer = setTimeout(() => late.reject(new NoAnswerError()), ms);
  const abort = () => late.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}
