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
 * happened.
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
  state: "ready" | "assigned" | "buried";
  consumer: number;
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
  /** Tasks that were buried. */
  buried: number;
}

/** What a server's lines so far say of its tasks. */
export class EventModel {
  /** What the server must not have printed. */
  readonly faults: string[] = [];
  /** How often things happened. */
  readonly counts: EventCounts = { created: 0, assigned: 0, requeued: 0, completed: 0, buried: 0 };
  readonly #mayRepeat: boolean;
  /** By name. */
  readonly #tasks = new Map<string, ModelTask[]>();
  /** By priority, in order of arrival. */
  readonly #ready: readonly ModelTask[][] = [[], [], [], []];
  /** What each consumer was handed, in order, until it is forgotten. */
  readonly #handed = new Map<number, string[]>();
  readonly #gone: { readonly consumer: number; readonly forgottenAt: number }[] = [];
  #lines = 0;

  /**
   * Starts before a server's first line.
   *
   * @param options.mayRepeat true if two tasks may have one name at a time; else that is a fault.
   */
  constructor(options: { readonly mayRepeat?: boolean } = {}) {
    this.#mayRepeat = options.mayRepeat ?? false;
  }

  /** Takes the next line; returns the task that it hands out, if it does. */
  take(line: string): SeenTask | undefined {
    this.#lines++;
    let handedOut: SeenTask | undefined;
    const [verb = "", ...fields] = line.split(" ");
    if (verb === "[CREATE]") this.#create(Number(fields[0]), fields[1] ?? "");
    else if (verb === "[Consumer") this.#disconnect(Number(fields[0]));
    else if (/^\[(?:ASSIGN|REQUEUE|COMPLETE|BURY)\]$/.test(verb)) {
      const consumer = Number(/^consumer(\d+)$/.exec(fields[2] ?? "")?.[1]);
      handedOut = this.#move(verb, fields[0] ?? "", consumer);
    } else if (!/^\[(?:Consumer\d+ connected|\d+ consumers online)\]$|^exit$/.test(line)) {
      this.fail(`unknown line ${JSON.stringify(line)}`);
    }
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
    this.#makeReady(task);
  }

  /** Adds a fault. */
  fail(fault: string): void {
    if (this.faults.length < maxFaults) this.faults.push(fault);
  }

  #create(priority: number, name: string): void {
    const named = this.#tasks.get(name) ?? [];
    if (named.length > 0 && !this.#mayRepeat) return this.fail(`${name} was created twice`);
    const arrival = ++this.counts.created;
    const task: ModelTask = { name, priority, arrival, state: "ready", consumer: 0 };
    this.#tasks.set(name, [...named, task]);
    this.#makeReady(task);
  }

  #move(verb: string, name: string, consumer: number): SeenTask | undefined {
    const named = this.#tasks.get(name) ?? [];
    const first = this.#first();
    const task = verb !== "[ASSIGN]"
      ? named.find((task) => task.state === "assigned" && task.consumer === consumer)
      : first?.name === name
      ? first
      : named.find((task) => task.state === "ready");
    if (task === undefined) {
      const [other] = named;
      const is = other === undefined
        ? "gone or never created"
        : `${other.state}, ${other.consumer}`;
      this.fail(`${verb} ${name} - consumer${consumer}, but it is ${is}`);
    } else if (verb === "[ASSIGN]") {
      if (first !== task) {
        this.fail(`${name} was handed out before ${first?.name}, which is first in order`);
      }
      this.#assign(task, consumer);
      return task;
    } else if (verb === "[REQUEUE]") {
      this.counts.requeued++;
      this.#makeReady(task);
    } else if (verb === "[BURY]") {
      this.counts.buried++;
      task.state = "buried";
    } else {
      this.counts.completed++;
      this.#remove(task);
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
    const tasks = this.#ready[task.priority] as ModelTask[];
    tasks.splice(tasks.indexOf(task), 1);
    task.state = "assigned";
    task.consumer = consumer;
    const handed = this.#handed.get(consumer);
    if (handed === undefined) this.#handed.set(consumer, [task.name]);
    else handed.push(task.name);
  }

  #makeReady(task: ModelTask): void {
    task.state = "ready";
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
