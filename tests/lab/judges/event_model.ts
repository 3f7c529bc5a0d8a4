/**
 * Follows a server by the lines that it prints, and finds every one that it must not print. Pure.
 *
 * It needs names of tasks that are unique, a server without a store (whose lines come in the order
 * in which things happened), and all of its lines.
 *
 * @module
 */

/** How many lines later a consumer that has gone is forgotten: what comes back comes at once. */
const rememberedLines = 10_000;

/** Most faults that are kept: a broken server would show one for each task. */
const maxFaults = 20;

interface ModelTask {
  readonly name: string;
  readonly priority: number;
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
  readonly #tasks = new Map<string, ModelTask>();
  /** By priority, in order of arrival. */
  readonly #ready: readonly ModelTask[][] = [[], [], [], []];
  /** What each consumer was handed, in order, until it is forgotten. */
  readonly #handed = new Map<number, string[]>();
  readonly #gone: { readonly consumer: number; readonly forgottenAt: number }[] = [];
  #lines = 0;

  /** Takes the next line. */
  take(line: string): void {
    this.#lines++;
    const [verb = "", ...fields] = line.split(" ");
    if (verb === "[CREATE]") this.#create(Number(fields[0]), fields[1] ?? "");
    else if (verb === "[Consumer") this.#disconnect(Number(fields[0]));
    else if (/^\[(?:ASSIGN|REQUEUE|COMPLETE|BURY)\]$/.test(verb)) {
      this.#move(verb, fields[0] ?? "", Number(/^consumer(\d+)$/.exec(fields[2] ?? "")?.[1]));
    } else if (!/^\[(?:Consumer\d+ connected|\d+ consumers online)\]$|^exit$/.test(line)) {
      this.fail(`unknown line ${JSON.stringify(line)}`);
    }
    this.#forget();
  }

  /** How many tasks are ready. */
  get readyTasks(): number {
    return this.#ready.reduce((sum, tasks) => sum + tasks.length, 0);
  }

  /** The names of the tasks that are buried. */
  get buriedTasks(): string[] {
    return [...this.#tasks.values()].filter((task) => task.state === "buried")
      .map((task) => task.name);
  }

  /** What a consumer was handed so far, in order; undefined where it is not known any more. */
  handedTo(consumer: number): readonly string[] | undefined {
    return this.#handed.get(consumer);
  }

  /** Takes note that a buried task was kicked, which no line tells. */
  kick(name: string): void {
    const task = this.#tasks.get(name);
    if (task?.state !== "buried") return this.fail(`${name} was kicked, but is not buried`);
    this.#makeReady(task);
  }

  /** Adds a fault. */
  fail(fault: string): void {
    if (this.faults.length < maxFaults) this.faults.push(fault);
  }

  #create(priority: number, name: string): void {
    if (this.#tasks.has(name)) return this.fail(`${name} was created twice`);
    const arrival = ++this.counts.created;
    const task: ModelTask = { name, priority, arrival, state: "ready", consumer: 0 };
    this.#tasks.set(name, task);
    this.#makeReady(task);
  }

  #move(verb: string, name: string, consumer: number): void {
    const task = this.#tasks.get(name);
    const from = verb === "[ASSIGN]" ? "ready" : "assigned";
    if (task?.state !== from || (from === "assigned" && task.consumer !== consumer)) {
      const is = task === undefined ? "gone or never created" : `${task.state}, ${task.consumer}`;
      return this.fail(`${verb} ${name} - consumer${consumer}, but it is ${is}`);
    }
    if (verb === "[ASSIGN]") this.#assign(task, consumer);
    else if (verb === "[REQUEUE]") {
      this.counts.requeued++;
      this.#makeReady(task);
    } else if (verb === "[BURY]") {
      this.counts.buried++;
      task.state = "buried";
    } else {
      this.counts.completed++;
      this.#tasks.delete(name);
    }
  }

  #assign(task: ModelTask, consumer: number): void {
    this.counts.assigned++;
    const first = this.#ready.find((tasks) => tasks.length > 0)?.[0];
    if (first !== task) {
      this.fail(`${task.name} was handed out before ${first?.name}, which is first in order`);
    }
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
        const task = this.#tasks.get(name);
        if (task?.state === "assigned" && task.consumer === consumer) this.#tasks.delete(name);
      }
      this.#handed.delete(consumer);
    }
  }
}
