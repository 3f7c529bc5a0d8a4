/**
 * Checks what the clients of a run sent and got against what the server promises. Pure.
 *
 * One of three order checkers. This one sees only the clients' ends, as a user does, so it judges
 * whole systems: through bad networks, over kill -9, with lines that were lost on their way. The
 * model of the simulation (../simulation/model.ts) predicts every reply, but only if the order
 * of all input is known; event_model.ts follows the console, but cannot see what clients got.
 *
 * A history is, for each client, the list of what it said and got, in its own order, each with a
 * time of one clock that only goes forward. A time is taken just before a line is sent and just
 * after one is read, so what the server did lies strictly between. Names of tasks are unique in a
 * history. What confirms a line on the wire is the client library's business, which is strict about
 * it; here a line is confirmed by the task's name.
 *
 * The server's own order is not known, so only what is certain is held against it:
 *
 * - A `CREATE` that is not confirmed may exist or not.
 * - Of a scheduled task it is not known from when on it waits, nor of one that comes back.
 * - A task is *certainly waiting* from its confirmation until the first request is sent that is
 *   known to have got it. What comes back later waits too, but it is not known from when on.
 * - A request without an answer, on a connection that broke, may have taken any one task, and have
 *   kept it: for good, or until the server took it back. Each hides at most one task. So where k of
 *   them were sent before some time, more than k tasks must be out of order, or waiting behind a
 *   `NOTASK`, or missing, before one of them is certainly so.
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
  | { readonly at: number; readonly sent: "REQUEST" | "RESERVE" }
  | {
    readonly at: number;
    readonly sent: "COMPLETE" | "RELEASE" | "FAIL" | "BURY" | "TOUCH" | "KICK";
    readonly task: string;
  }
  | { readonly at: number; readonly got: "ASSIGN"; readonly task: string }
  | { readonly at: number; readonly got: "NOTASK" }
  /** What the client said last of this task is done. */
  | { readonly at: number; readonly got: "CONFIRMED"; readonly task: string };

/** One client: it creates tasks or takes them, never both. */
export interface ClientHistory {
  /** To be named in faults. */
  readonly client: string;
  /** In the order in which the client sent and got them. */
  readonly entries: readonly Entry[];
  /** True if a connection ended before all answers could come; nothing was asked after that. */
  readonly isBroken: boolean;
}

/** A whole run. */
export interface History {
  /** Every client. */
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

  #readCreates({ entries }: ClientHistory, producer: number): void {
    for (const entry of entries) {
      if ("sent" in entry && (entry.sent === "CREATE" || entry.sent === "SCHEDULE")) {
        this.#addLife(entry, producer);
      } else if ("got" in entry && entry.got === "CONFIRMED") {
        const life = this.#lives.get(entry.task);
        if (life?.producer === producer) this.#confirm(life, entry.at);
      }
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

  /** Pairs each request with its answer, and each end of a task with what confirms it. */
  #readRequests({ client, entries, isBroken }: ClientHistory): void {
    const asked: { verb: "REQUEST" | "RESERVE"; at: number }[] = [];
    let answered = 0;
    /** What was said last of each task. */
    const said = new Map<string, string>();
    for (const entry of entries) {
      if ("sent" in entry) {
        if (!("task" in entry)) {
          asked.push({ verb: entry.sent, at: entry.at });
          continue;
        }
        said.set(entry.task, entry.sent);
        const life = this.#lives.get(entry.task);
        if (entry.sent === "COMPLETE" && life !== undefined) life.mayBeCompleted = true;
        if (entry.sent === "KICK") life?.kickedAt.push(entry.at);
      } else if (entry.got === "CONFIRMED") {
        this.#end(entry.task, { said: said.get(entry.task), at: entry.at });
      } else {
        const request = asked[answered++];
        if (request === undefined) {
          this.#fail("one answer a request", `${client} got ${entry.got} for no request`);
          continue;
        }
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

  #end(task: string, { said, at }: { said: string | undefined; at: number }): void {
    const life = this.#lives.get(task);
    if (said === "COMPLETE" && life !== undefined) {
      life.completedAt = Math.min(life.completedAt, at);
    } else if (said === "BURY") life?.buriedAt.push(at);
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
