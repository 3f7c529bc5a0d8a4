/**
 * Checks what the clients of a run sent and got against what the server promises. Pure.
 *
 * One of three order checkers. This one sees only the clients' ends, as a user does, so it judges
 * whole systems: through bad networks, over kill -9, with lines that were lost on their way. The
 * model of the simulation (../simulation/model.ts) predicts every reply, but only if the order
 * of all input is known; event_model.ts follows the console, but cannot see what clients got.
 *
 * A history is, for each connection, the list of what its client sent and got, in the client's own
 * order, each with a time of one clock that only goes forward. A time is taken just before a line
 * is sent and just after one is read, so what the server did lies strictly between. Names of tasks
 * are unique in a history.
 *
 * The server's own order is not known, so only what is certain is held against it:
 *
 * - A `CREATE` is *confirmed* when the `OK` of a later `SYNC` is read. An unconfirmed one may exist
 *   or not.
 * - Of a scheduled task it is not known from when on it waits, nor of one that comes back.
 * - A task is *certainly waiting* from its confirmation until the first request is sent that is
 *   known to have got it. What comes back later waits too, but it is not known from when on.
 * - A request without an answer, on a connection that broke, may have taken any one task, and have
 *   kept it: for good, or until the server took it back. Each hides at most one task. So where k of
 *   them were sent before some time, more than k tasks must be out of order, or waiting behind a
 *   `NOTASK`, or missing, before one of them is certainly so.
 * - A `COMPLETE` or a `BURY` is confirmed by the next `ASSIGN` or `NOTASK` that answers a later
 *   request, or by the `OK` of a later `SYNC`, if no `ERROR` came before it.
 *
 * Cost: O(n log n) for n entries.
 *
 * @module
 */

/** What a client sent or got, and when. */
export type Entry =
  | {
    readonly at: number;
    readonly sent: "CREATE" | "SCHEDULE";
    readonly task: string;
    readonly priority: number;
  }
  | { readonly at: number; readonly sent: "SYNC" | "REQUEST" | "RESERVE" }
  | {
    readonly at: number;
    readonly sent: "COMPLETE" | "RELEASE" | "FAIL" | "BURY" | "TOUCH" | "KICK";
    readonly task: string;
  }
  | { readonly at: number; readonly got: "ASSIGN"; readonly task: string }
  | { readonly at: number; readonly got: "NOTASK" }
  | { readonly at: number; readonly got: "ERROR" | "DONE" }
  | { readonly at: number; readonly got: "OK"; readonly count: number };

/** One connection. */
export interface ClientHistory {
  /** To be named in faults. */
  readonly client: string;
  /** In the order in which the client sent and got them. */
  readonly entries: readonly Entry[];
  /** True where the connection ended before all answers could come. */
  readonly isBroken: boolean;
}

/** A whole run. On a connection that sends a `KICK` nothing is confirmed: it gets an `OK`, too. */
export interface History {
  /** Every connection. */
  readonly clients: readonly ClientHistory[];
  /**
   * True where, after the last fault and with no other client left, all buried tasks were kicked
   * and a last client asked until `NOTASK`: then nothing may be missing.
   */
  readonly isDrained: boolean;
}

/** A promise that the server did not keep. */
export interface Fault {
  /** Which one. */
  readonly invariant:
    | "handed out, not created"
    | "handed out twice"
    | "handed out after its completion"
    | "handed out after its burial"
    | "one answer a request"
    | "confirmed in order"
    | "priority order"
    | "first in, first out"
    | "NOTASK while tasks wait"
    | "lost";
  /** What shows it. */
  readonly message: string;
}

/** Most faults that are told: a broken run would have one for each task. */
const maxFaults = 20;

interface TaskLife {
  readonly task: string;
  readonly priority: number;
  readonly producer: number;
  readonly sentAt: number;
  readonly isScheduled: boolean;
  /** Infinity where it is not confirmed. */
  confirmedAt: number;
  /** From when on it certainly waits, if nobody has got it; Infinity if that is not known. */
  waitsFrom: number;
  /** When the first request was sent that got it; Infinity where none did. */
  firstAskedAt: number;
  /** The `REQUEST` that got it. */
  request: HandOut | undefined;
  mayBeCompleted: boolean;
  /** Infinity where no completion is confirmed. */
  completedAt: number;
  /** When each of its burials was confirmed. */
  readonly buriedAt: number[];
  /** When it was kicked. */
  readonly kickedAt: number[];
}

interface HandOut {
  readonly life: TaskLife;
  readonly client: string;
  readonly askedAt: number;
  readonly gotAt: number;
  readonly verb: "REQUEST" | "RESERVE";
}

interface NoTask {
  readonly client: string;
  readonly askedAt: number;
  readonly gotAt: number;
}

/** Finds the promises that a run shows to be broken; at most 20. */
export function checkHistory(history: History): Fault[] {
  return new Checker(history).check();
}

class Checker {
  readonly #history: History;
  readonly #faults: Fault[] = [];
  readonly #lives = new Map<string, TaskLife>();
  readonly #handOuts: HandOut[] = [];
  readonly #noTasks: NoTask[] = [];
  /** When each unanswered request was sent, in order. */
  readonly #unanswered: number[] = [];
  #unansweredRequests = 0;

  constructor(history: History) {
    this.#history = history;
  }

  check(): Fault[] {
    const { clients, isDrained } = this.#history;
    clients.forEach((client, index) => this.#readCreates(client, index));
    for (const client of clients) this.#readRequests(client);
    this.#unanswered.sort((a, b) => a - b);
    this.#checkRepeats();
    this.#checkOrder();
    this.#checkNoTasks();
    if (isDrained) this.#checkLosses();
    return this.#faults;
  }

  #fail(invariant: Fault["invariant"], message: string): void {
    if (this.#faults.length < maxFaults) this.#faults.push({ invariant, message });
  }

  /** Pairs each `SYNC` with its `OK`. */
  #readCreates({ client, entries, isBroken }: ClientHistory, producer: number): void {
    const hasKicked = entries.some((entry) => "sent" in entry && entry.sent === "KICK");
    const creates: TaskLife[] = [];
    const syncs: number[] = [];
    let answered = 0;
    let confirmed = 0;
    let refusals = 0;
    /** A client has either these or tasks that it created. */
    let completions = 0;
    for (const entry of entries) {
      if ("sent" in entry && (entry.sent === "CREATE" || entry.sent === "SCHEDULE")) {
        creates.push(this.#addLife(entry, producer));
      } else if (hasKicked) {
        continue;
      } else if ("sent" in entry && entry.sent === "COMPLETE") {
        completions++;
      } else if ("sent" in entry && entry.sent === "SYNC") {
        syncs.push(creates.length + completions);
      } else if ("got" in entry && entry.got === "ERROR") {
        refusals++;
      } else if ("got" in entry && entry.got === "OK") {
        const sent = syncs[answered++];
        if (sent === undefined) {
          this.#fail("one answer a request", `${client} got OK ${entry.count} for no SYNC`);
        } else if (entry.count > Math.max(sent, completions) || entry.count < sent - refusals) {
          // A SYNC behind a RESERVE that waits counts what is completed meanwhile, too.
          const what = completions === 0 ? "CREATEs" : "COMPLETEs";
          this.#fail("confirmed in order", `${client} got OK ${entry.count} after ${sent} ${what}`);
        } else if (refusals === 0 && completions === 0) {
          // With refusals it is not known which ones were taken.
          while (confirmed < sent) this.#confirm(creates[confirmed++] as TaskLife, entry.at);
        }
      }
    }
    if (answered < syncs.length && !isBroken) {
      this.#fail("one answer a request", `${client} got ${answered} OKs for ${syncs.length} SYNCs`);
    }
  }

  #confirm(life: TaskLife, at: number): void {
    life.confirmedAt = at;
    if (!life.isScheduled) life.waitsFrom = at;
  }

  #addLife(
    entry: { sent: "CREATE" | "SCHEDULE"; task: string; priority: number; at: number },
    producer: number,
  ): TaskLife {
    const life = {
      ...{ task: entry.task, priority: entry.priority, producer, sentAt: entry.at },
      ...{ isScheduled: entry.sent === "SCHEDULE", confirmedAt: Infinity, waitsFrom: Infinity },
      ...{ firstAskedAt: Infinity, request: undefined, mayBeCompleted: false },
      ...{ completedAt: Infinity, buriedAt: [], kickedAt: [] },
    };
    if (this.#lives.has(entry.task)) throw new RangeError(`two CREATEs of ${entry.task}`);
    this.#lives.set(entry.task, life);
    return life;
  }

  /** Pairs each request with its answer, and each completion with what confirms it. */
  #readRequests({ client, entries, isBroken }: ClientHistory): void {
    const asked: { verb: "REQUEST" | "RESERVE"; at: number }[] = [];
    let answered = 0;
    let syncs = 0;
    let confirmedSyncs = 0;
    /** Ends of tasks, and how many requests and `SYNC`s were sent before each. */
    let ends: { sent: "COMPLETE" | "BURY"; task: string; asked: number; syncs: number }[] = [];
    const confirm = (at: number) => {
      const isConfirmed = (end: { asked: number; syncs: number }) =>
        end.asked < answered || end.syncs < confirmedSyncs;
      for (const end of ends.filter(isConfirmed)) this.#end(end, at);
      if (ends.length > 0) ends = ends.filter((end) => !isConfirmed(end));
    };
    for (const entry of entries) {
      if ("sent" in entry) {
        if (entry.sent === "REQUEST" || entry.sent === "RESERVE") {
          asked.push({ verb: entry.sent, at: entry.at });
        } else if (entry.sent === "SYNC") {
          syncs++;
        } else if (entry.sent === "COMPLETE" || entry.sent === "BURY") {
          const life = this.#lives.get(entry.task);
          if (life !== undefined && entry.sent === "COMPLETE") life.mayBeCompleted = true;
          ends.push({ sent: entry.sent, task: entry.task, asked: asked.length, syncs });
        } else if (entry.sent === "KICK") {
          this.#lives.get(entry.task)?.kickedAt.push(entry.at);
        }
      } else if (entry.got === "ERROR") {
        ends = []; // it is not known which one was refused
      } else if (entry.got === "OK") {
        confirmedSyncs++;
        confirm(entry.at);
      } else if (entry.got === "ASSIGN" || entry.got === "NOTASK") {
        const request = asked[answered++];
        if (request === undefined) {
          this.#fail("one answer a request", `${client} got ${entry.got} for no request`);
          continue;
        }
        confirm(entry.at);
        const common = { client, askedAt: request.at, gotAt: entry.at };
        if (entry.got === "ASSIGN") this.#handOut(entry.task, { ...common, verb: request.verb });
        else this.#noTasks.push(common);
      }
    }
    for (const { verb, at } of asked.slice(answered)) {
      this.#unanswered.push(at);
      if (verb === "REQUEST") this.#unansweredRequests++;
    }
    if (answered < asked.length && !isBroken) {
      const counts = `${answered} answers to ${asked.length} requests`;
      this.#fail("one answer a request", `${client} got ${counts}`);
    }
  }

  #end({ sent, task }: { sent: "COMPLETE" | "BURY"; task: string }, at: number): void {
    const life = this.#lives.get(task);
    if (life === undefined) return;
    if (sent === "COMPLETE") life.completedAt = Math.min(life.completedAt, at);
    else life.buriedAt.push(at);
  }

  #handOut(task: string, handOut: Omit<HandOut, "life">): void {
    const life = this.#lives.get(task);
    if (life === undefined || life.sentAt >= handOut.gotAt) {
      this.#fail("handed out, not created", `${handOut.client} got ${task} at ${handOut.gotAt}`);
      return;
    }
    life.firstAskedAt = Math.min(life.firstAskedAt, handOut.askedAt);
    if (handOut.verb === "REQUEST") {
      if (life.request !== undefined) {
        const both = `${life.request.client} and ${handOut.client}`;
        this.#fail("handed out twice", `${task} was given to ${both} for good`);
      }
      life.request = { ...handOut, life };
    }
    this.#handOuts.push({ ...handOut, life });
  }

  /** What was asked for after a task was certainly gone cannot be that task. */
  #checkRepeats(): void {
    for (const { life, client, askedAt, gotAt } of this.#handOuts) {
      if (life.request !== undefined && askedAt > life.request.gotAt) {
        const earlier = `${life.request.client} at ${life.request.gotAt}`;
        this.#fail("handed out twice", `${life.task}: ${earlier}, ${client} at ${gotAt}`);
      }
      if (askedAt > life.completedAt) {
        const message = `${life.task}: completed at ${life.completedAt}, ${client} at ${gotAt}`;
        this.#fail("handed out after its completion", message);
      }
      // Nobody can have kicked it between its burial and this hand-out.
      const buriedAt = life.buriedAt.findLast((at) => at < askedAt);
      if (buriedAt !== undefined && !life.kickedAt.some((at) => at < gotAt)) {
        const message = `${life.task}: buried at ${buriedAt}, ${client} at ${gotAt}`;
        this.#fail("handed out after its burial", message);
      }
    }
  }

  #checkOrder(): void {
    const lives = [...this.#lives.values()];
    for (const priority of [1, 2, 3]) {
      const handOuts = this.#handOuts.filter(({ life }) => life.priority === priority);
      // More urgent, and confirmed before this one was asked for.
      this.#expectFew("priority order", handOuts, {
        points: lives.filter((life) => life.priority < priority),
        pointKey: (life) => life.waitsFrom,
        handOutKey: ({ askedAt }) => askedAt,
      });
      // As urgent, and confirmed before this one was sent.
      this.#expectFew("first in, first out", handOuts, {
        points: lives.filter((life) => life.priority === priority),
        pointKey: (life) => life.waitsFrom,
        handOutKey: ({ life }) => life.sentAt,
      });
      this.#checkOrderOfEachProducer(priority, lives, handOuts);
    }
  }

  /** Lines of one connection are taken in order: the later task is there only if the earlier is. */
  #checkOrderOfEachProducer(
    priority: number,
    lives: readonly TaskLife[],
    handOuts: readonly HandOut[],
  ): void {
    const place = new Map(lives.map((life, index) => [life, index]));
    const points = Map.groupBy(
      lives.filter((life) => life.priority === priority && life.waitsFrom < Infinity),
      (life) => life.producer,
    );
    for (const [producer, own] of Map.groupBy(handOuts, ({ life }) => life.producer)) {
      this.#expectFew("first in, first out", own, {
        points: points.get(producer) ?? [],
        pointKey: (life) => place.get(life) as number,
        handOutKey: ({ life }) => place.get(life) as number,
      });
    }
  }

  /**
   * For each hand-out, counts the tasks with a lower key that were first asked for only after its
   * answer: each should have left before it.
   */
  #expectFew(
    invariant: Fault["invariant"],
    handOuts: readonly HandOut[],
    { points, pointKey, handOutKey }: {
      readonly points: readonly TaskLife[];
      readonly pointKey: (life: TaskLife) => number;
      readonly handOutKey: (handOut: HandOut) => number;
    },
  ): void {
    const byKey = points.map((life) => ({ key: pointKey(life), until: life.firstAskedAt }))
      .sort((a, b) => a.key - b.key);
    const untils = Float64Array.from(byKey, ({ until }) => until).sort();
    const seen = new Tally(untils.length);
    let next = 0;
    const inOrder = handOuts.map((handOut) => ({ handOut, key: handOutKey(handOut) }))
      .sort((a, b) => a.key - b.key);
    for (const { handOut, key } of inOrder) {
      for (let point = byKey[next]; point !== undefined && point.key < key; point = byKey[next]) {
        seen.add(firstAbove(untils, point.until) - 1);
        next++;
      }
      const passedOver = seen.countFrom(firstAbove(untils, handOut.gotAt));
      if (passedOver > this.#hidden(handOut.gotAt)) {
        const { life: { task }, client, gotAt } = handOut;
        this.#fail(
          invariant,
          `${client} got ${task} at ${gotAt}: ${passedOver} tasks before it were waiting`,
        );
      }
    }
  }

  /** How many tasks may be in the hands of requests that were never answered. */
  #hidden(at: number): number {
    return this.#unanswered.length === 0 ? 0 : firstAbove(this.#unanswered, at);
  }

  #checkNoTasks(): void {
    const waiting = new Waiting(
      [...this.#lives.values()].filter(({ waitsFrom }) => waitsFrom < Infinity),
    );
    for (const { client, askedAt, gotAt } of this.#noTasks) {
      const least = waiting.leastBetween(askedAt, gotAt);
      if (least > this.#hidden(gotAt)) {
        const message = `${client} got NOTASK at ${gotAt}: at least ${least} were waiting`;
        this.#fail("NOTASK while tasks wait", message);
      }
    }
  }

  #checkLosses(): void {
    const missing = [...this.#lives.values()].filter((life) =>
      life.confirmedAt < Infinity && life.request === undefined && !life.mayBeCompleted
    );
    if (missing.length > this.#unansweredRequests) {
      const examples = missing.slice(0, 3).map(({ task }) => task).join(", ");
      this.#fail(
        "lost",
        `${missing.length} confirmed tasks never came (${examples}), ` +
          `and ${this.#unansweredRequests} requests had no answer`,
      );
    }
  }
}

/** Counts in a row of places: Fenwick, "A New Data Structure for Cumulative Frequency Tables". */
class Tally {
  readonly #sums: Int32Array;
  #total = 0;

  constructor(places: number) {
    this.#sums = new Int32Array(places + 1);
  }

  add(place: number): void {
    this.#total++;
    for (let i = place + 1; i < this.#sums.length; i += i & -i) (this.#sums[i] as number)++;
  }

  /** How many were added at this place or a later one. */
  countFrom(place: number): number {
    let before = 0;
    for (let i = place; i > 0; i -= i & -i) before += this.#sums[i] as number;
    return this.#total - before;
  }
}

/** How many tasks were certainly waiting at each time. */
class Waiting {
  /** From each time on, until the next, so many wait; the least of each pair lies above it. */
  readonly #times: Float64Array;
  readonly #least: Int32Array;

  constructor(lives: readonly TaskLife[]) {
    const sure = lives.filter((life) => life.waitsFrom < life.firstAskedAt);
    const starts = Float64Array.from(sure, (life) => life.waitsFrom).sort();
    const ends = Float64Array.from(sure, (life) => life.firstAskedAt).sort();
    const size = starts.length + ends.length + 1;
    this.#times = new Float64Array(size);
    this.#least = new Int32Array(2 * size);
    this.#times[0] = -Infinity;
    for (let i = 1, start = 0, end = 0; i < size; i++) {
      // At equal times the end first: only what is certain counts.
      const isEnd = start === starts.length || (ends[end] as number) <= (starts[start] as number);
      this.#times[i] = (isEnd ? ends[end++] : starts[start++]) as number;
      this.#least[size + i] = start - end;
    }
    for (let i = size - 1; i > 0; i--) {
      this.#least[i] = Math.min(this.#least[2 * i] as number, this.#least[2 * i + 1] as number);
    }
  }

  /** The least number at any instant from one time to another. */
  leastBetween(from: number, to: number): number {
    const size = this.#times.length;
    let low = firstAbove(this.#times, from) - 1 + size;
    let high = firstAbove(this.#times, to) + size;
    let least = Infinity;
    for (; low < high; low >>= 1, high >>= 1) {
      if (low & 1) least = Math.min(least, this.#least[low++] as number);
      if (high & 1) least = Math.min(least, this.#least[--high] as number);
    }
    return least;
  }
}

/** The index of the first value above a limit, in values from the lowest on. */
function firstAbove(values: ArrayLike<number>, limit: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] as number) > limit) high = middle;
    else low = middle + 1;
  }
  return low;
}
