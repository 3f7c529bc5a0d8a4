/**
 * Follows a server by the lines that it prints, and finds every one that it must not print. Pure.
 *
 * One of three order checkers. This one sees only the console, so it can judge a program that runs
 * for hours under any load, and says at once which line is wrong. It cannot see what clients get:
 * that is for history.ts, which in turn does not know the server's own order. The model of the
 * simulation (../simulation/model.ts) predicts every reply and line, but has to be told of each
 * input in the order in which the server takes it, which only a simulated network knows.
 *
 * It needs all lines of a server without a store, whose lines come in the order in which things
 * happened. No line tells that a task is created, or released, with a delay. If that may be, a task
 * over which another is handed out counts as delayed: before it is handed out itself, a line must
 * say that it is ready.
 *
 * @module
 */

/** How many lines later a consumer that has gone is forgotten: what comes back comes at once. */
const rememberedLines = 10_000;

/** Most faults that are kept: a broken server would show one for each task. */
const maxFaults = 20;

/** A task as far as the lines tell of it. */
export interface SeenTask {
  /** Its task_id. */
  readonly name: string;
  /** 1, 2 or 3. */
  readonly priority: number;
  /** Who was handed it last; 0 if nobody was. */
  readonly consumer: number;
}

interface ModelTask extends SeenTask {
  readonly arrival: number;
  state: "ready" | "delayed" | "assigned" | "buried";
  consumer: number;
  /** Whether it is ready for sure: not if it may have a delay of which no line tells. */
  isSure: boolean;
}

/** How often things happened. */
export interface EventCounts {
  /** Tasks accepted. */
  created: number;
  /** Tasks handed out, each as often as it was. */
  assigned: number;
  /** Tasks that came back, each as often as it did. */
  requeued: number;
  /** Reserved tasks that were completed. */
  completed: number;
  /** Attempts that failed. */
  failed: number;
  /** Tasks that were buried. */
  buried: number;
}

/** What a server's lines so far say of its tasks. */
export class EventModel {
  /** What the server must not have printed. */
  readonly faults: string[] = [];
  /** How often things happened. */
  readonly counts: EventCounts = {
    ...{ created: 0, assigned: 0, requeued: 0, completed: 0, failed: 0, buried: 0 },
  };
  readonly #mayRepeat: boolean;
  readonly #mayDelay: boolean;
  /** By name. */
  readonly #tasks = new Map<string, ModelTask[]>();
  /** By priority, in order of arrival. */
  readonly #ready: readonly ModelTask[][] = [[], [], [], []];
  /** What each consumer was handed, in order, until it is forgotten. */
  readonly #handed = new Map<number, string[]>();
  readonly #gone: { readonly consumer: number; readonly forgottenAt: number }[] = [];
  /** The task that failed by the last line: the next one may say that it is buried. */
  #lastFailed: ModelTask | undefined;
  #lines = 0;

  /**
   * Starts before a server's first line.
   *
   * @param options.mayRepeat true if two tasks may have one name at a time; else that is a fault.
   * @param options.mayDelay true if tasks may be scheduled, or released with a delay.
   */
  constructor(options: { readonly mayRepeat?: boolean; readonly mayDelay?: boolean } = {}) {
    this.#mayRepeat = options.mayRepeat ?? false;
    this.#mayDelay = options.mayDelay ?? false;
  }

  /** Takes the next line; returns the task that it hands out, if it does. */
  take(line: string): SeenTask | undefined {
    this.#lines++;
    let handedOut: SeenTask | undefined;
    const [verb = "", ...fields] = line.split(" ");
    if (verb === "[CREATE]") this.#create(Number(fields[0]), fields[1] ?? "");
    else if (verb === "[Consumer") this.#disconnect(Number(fields[0]));
    else if (verb === "[READY]") this.#endDelay(fields[0] ?? "");
    else if (/^\[(?:ASSIGN|REQUEUE|COMPLETE|FAIL|BURY)\]$/.test(verb)) {
      const consumer = Number(/^consumer(\d+)$/.exec(fields[2] ?? "")?.[1]);
      handedOut = this.#move(verb, fields[0] ?? "", consumer);
    } else if (!/^\[(?:Consumer\d+ connected|\d+ consumers online)\]$|^exit$/.test(line)) {
      this.fail(`unknown line ${JSON.stringify(line)}`);
    }
    if (verb !== "[FAIL]") this.#lastFailed = undefined;
    this.#forget();
    return handedOut;
  }

  /** How many tasks are ready. */
  get readyTasks(): number {
    return this.#ready.reduce((sum, tasks) => sum + tasks.length, 0);
  }

  /** The names of the tasks that are buried. */
  get buriedTasks(): string[] {
    return [...this.#tasks.values()].flat().filter((task) => task.state === "buried")
      .map((task) => task.name);
  }

  /** What a consumer was handed so far, in order; undefined where it is not known any more. */
  handedTo(consumer: number): readonly string[] | undefined {
    return this.#handed.get(consumer);
  }

  /** Takes note that a buried task was kicked, which no line tells. */
  kick(name: string): void {
    const task = this.#tasks.get(name)?.find((task) => task.state === "buried");
    if (task === undefined) return this.fail(`${name} was kicked, but is not buried`);
    this.#makeReady(task, true);
  }

  /** Adds a fault. */
  fail(fault: string): void {
    if (this.faults.length < maxFaults) this.faults.push(fault);
  }

  #create(priority: number, name: string): void {
    const named = this.#tasks.get(name) ?? [];
    if (named.length > 0 && !this.#mayRepeat) return this.fail(`${name} was created twice`);
    const arrival = ++this.counts.created;
    const task: ModelTask = {
      ...{ name, priority, arrival, state: "ready", consumer: 0, isSure: true },
    };
    this.#tasks.set(name, [...named, task]);
    this.#makeReady(task, !this.#mayDelay);
  }

  #endDelay(name: string): void {
    const named = this.#tasks.get(name) ?? [];
    const task = named.find((task) => task.state === "delayed") ??
      named.find((task) => task.state === "ready" && !task.isSure);
    if (task === undefined) return this.fail(`[READY] ${name}, but it is ${stateOf(named)}`);
    if (task.state === "delayed") this.#makeReady(task, true);
    task.isSure = true;
  }

  #move(verb: string, name: string, consumer: number): SeenTask | undefined {
    const named = this.#tasks.get(name) ?? [];
    const task = verb === "[ASSIGN]"
      ? this.#firstNamed(name, named)
      : verb === "[BURY]" && this.#lastFailed?.name === name
      ? this.#lastFailed
      : named.find((task) => task.state === "assigned" && task.consumer === consumer);
    if (task === undefined || task.consumer !== consumer && verb !== "[ASSIGN]") {
      this.fail(`${verb} ${name} - consumer${consumer}, but it is ${stateOf(named)}`);
      return undefined;
    }
    switch (verb) {
      case "[ASSIGN]":
        this.#passOver(task);
        this.#assign(task, consumer);
        return task;
      case "[REQUEUE]":
        this.counts.requeued++;
        this.#makeReady(task, !this.#mayDelay);
        break;
      case "[FAIL]":
        this.counts.failed++;
        task.state = "delayed";
        this.#lastFailed = task;
        break;
      case "[BURY]":
        this.counts.buried++;
        task.state = "buried";
        break;
      default:
        this.counts.completed++;
        this.#remove(task);
    }
    return undefined;
  }

  /** Of the ready tasks of a name the one that should leave first. */
  #firstNamed(name: string, named: readonly ModelTask[]): ModelTask | undefined {
    const first = this.#first();
    if (first?.name === name) return first;
    return named.filter((task) => task.state === "ready")
      .sort((a, b) => a.priority - b.priority || a.arrival - b.arrival)[0];
  }

  /** A task is handed out: those before it must have a delay. */
  #passOver(task: ModelTask): void {
    for (let first = this.#first(); first !== task; first = this.#first()) {
      if (first === undefined || first.isSure) {
        return this.fail(
          `${task.name} was handed out before ${first?.name}, which is first in order`,
        );
      }
      this.#takeReady(first);
      first.state = "delayed";
    }
  }

  #first(): ModelTask | undefined {
    return this.#ready.find((tasks) => tasks.length > 0)?.[0];
  }

  #remove(task: ModelTask): void {
    const others = this.#tasks.get(task.name)?.filter((other) => other !== task) ?? [];
    if (others.length > 0) this.#tasks.set(task.name, others);
    else this.#tasks.delete(task.name);
  }

  #assign(task: ModelTask, consumer: number): void {
    this.counts.assigned++;
    this.#takeReady(task);
    task.state = "assigned";
    task.consumer = consumer;
    const handed = this.#handed.get(consumer);
    if (handed === undefined) this.#handed.set(consumer, [task.name]);
    else handed.push(task.name);
  }

  #takeReady(task: ModelTask): void {
    const tasks = this.#ready[task.priority] as ModelTask[];
    tasks.splice(tasks.indexOf(task), 1);
  }

  #makeReady(task: ModelTask, isSure: boolean): void {
    task.state = "ready";
    task.isSure = isSure;
    const tasks = this.#ready[task.priority];
    if (tasks === undefined) return this.fail(`${task.name} has priority ${task.priority}`);
    let index = tasks.length;
    while (index > 0 && (tasks[index - 1] as ModelTask).arrival > task.arrival) index--;
    tasks.splice(index, 0, task);
  }

  #disconnect(consumer: number): void {
    this.#gone.push({ consumer, forgottenAt: this.#lines + rememberedLines });
  }

  /** What a consumer still has, long after it has gone, was handed out for good. */
  #forget(): void {
    while (this.#gone[0] !== undefined && this.#gone[0].forgottenAt <= this.#lines) {
      const { consumer } = this.#gone.shift() as { consumer: number };
      for (const name of this.#handed.get(consumer) ?? []) {
        const task = this.#tasks.get(name)?.find((task) =>
          task.state === "assigned" && task.consumer === consumer
        );
        if (task !== undefined) this.#remove(task);
      }
      this.#handed.delete(consumer);
    }
  }
}

function stateOf([task]: readonly ModelTask[]): string {
  return task === undefined ? "gone or never created" : `${task.state}, ${task.consumer}`;
}
