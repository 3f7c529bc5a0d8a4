import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import type { EndedReservation, Reservation } from "../../lib/core/reservations.ts";
import type { KeptTask } from "../../lib/core/store.ts";
import type { Task, TaskDescription } from "../../lib/core/task.ts";
import { type GivingUp, TaskQueue } from "../../lib/core/task_queue.ts";
import { simulate } from "../lab/simulation/search.ts";
import { drawSchedule } from "../lab/simulation/schedule.ts";

const options = { permissions: "none" } as const;

Deno.test("The server holds every invariant in 1,000 random schedules", options, async () => {
  const seed = Date.now() % 1_000_000_000;
  const fault = await simulate({ seed, schedules: 1000 });
  assert(fault === undefined, fault);
});

Deno.test("drawSchedule() draws the same schedule from the same seed", options, () => {
  assertEquals(drawSchedule(7), drawSchedule(7));
});

/** Forgets what it should take back. */
class LosingQueue extends TaskQueue {
  override giveBack(_handOut: Task | Reservation): boolean {
    return true;
  }
}

/** Gives a returning task a new place. */
class ReorderingQueue extends TaskQueue {
  #next = 1_000_000;
  override giveBack(handOut: Task | Reservation): boolean {
    const isTask = !("task" in handOut);
    return super.giveBack(isTask ? { ...handOut, arrival: this.#next++ } : handOut);
  }
}

/** Hands out the same task twice. */
class RepeatingQueue extends TaskQueue {
  override request(): Task | undefined {
    const task = super.request();
    if (task?.taskId === "c") this.giveBack(task);
    return task;
  }
}

/** Hands delayed tasks out at once. */
class HastyQueue extends TaskQueue {
  override admit(task: Task): void {
    super.admit(task);
  }
}

/** Forgets at a restart when delayed tasks are to be ready. */
class ForgettingQueue extends TaskQueue {
  override restore(kept: KeptTask, nowMs: number): void {
    super.restore({ ...kept, dueMs: undefined }, nowMs);
  }
}

/** Takes tasks without their payloads. */
class StrippingQueue extends TaskQueue {
  override create({ priority, taskId, duration }: TaskDescription, dueMs?: number): Task {
    return super.create({ priority, taskId, duration }, dueMs);
  }
}

/** Starts a lease anew at the wrong time. */
class UntouchedQueue extends TaskQueue {
  override touch(consumer: number, taskId: string): boolean {
    return super.touch(consumer, taskId, 0);
  }
}

/** Has nobody wait for a task. */
class ImpatientQueue extends TaskQueue {
  override mayReserve(): boolean {
    return true;
  }
}

/** Takes a failure for a release. */
class ForgivingQueue extends TaskQueue {
  override giveUp(consumer: number, taskId: string, how: GivingUp): EndedReservation | undefined {
    return super.giveUp(consumer, taskId, how.kind === "fail" ? { kind: "release" } : how);
  }
}

const brokenQueues = [
  ...[LosingQueue, ReorderingQueue, RepeatingQueue, HastyQueue, ForgettingQueue, StrippingQueue],
  ...[UntouchedQueue, ImpatientQueue, ForgivingQueue],
];

for (const Queue of brokenQueues) {
  Deno.test(
    `simulate() finds a ${Queue.name} and tells it in under 60 lines`,
    options,
    async () => {
      const fault = await simulate({ seed: 1, schedules: 1000, Queue }) ?? "";
      assertStringIncludes(fault, "BrokenInvariant");
      assertLess(fault.split("\n").length, 60, fault);
    },
  );
}
