import { assertEquals, assertThrows } from "@std/assert";
import { formatNewTask, formatSeconds, type NewTask } from "../../lib/client/new_task.ts";
import { parseProducerCommand } from "../../lib/core/protocol.ts";
import type { Json } from "../../mod.ts";

Deno.test("A number of seconds is written in digits, to the nanosecond, never with an exponent", () => {
  const written: readonly (readonly [number, string])[] = [
    [0, "0"],
    [-0, "0"],
    [3, "3"],
    [0.1 + 0.2, "0.3"],
    [1e-7, "0.0000001"],
    [1e-10, "0"],
    [0.9999999999, "1"],
    [100.5, "100.5"],
    [999_999_999, "999999999"],
  ];
  for (const [seconds, text] of written) assertEquals(formatSeconds("delay", seconds), text);
});

Deno.test("A field that cannot be written is an error that names it", () => {
  const wrong: readonly (readonly [object, typeof RangeError | typeof TypeError, string])[] = [
    [{ id: 5 }, TypeError, "id must be a string"],
    [{ id: "" }, RangeError, "id must have at least 1 byte"],
    [{ id: "a b" }, RangeError, "id must have no blanks"],
    [{ id: "a\nSYNC" }, RangeError, "id: "],
    [{ id: "\ud800" }, RangeError, "id must have no blanks or lone surrogates"],
    [{ id: "ä".repeat(128) }, RangeError, "id: task_id must have at most 255 bytes"],
    [{ priority: 4 }, RangeError, "priority must be 1, 2 or 3"],
    [{ priority: "1" }, RangeError, "priority must be 1, 2 or 3"],
    [{ duration: -1 }, RangeError, "duration must be"],
    [{ duration: NaN }, RangeError, "duration must be"],
    [{ duration: 1e9 }, RangeError, "duration must be"],
    [{ duration: 1e300 }, RangeError, "duration must be"],
    [{ duration: "3" }, TypeError, "duration must be"],
    [{ delay: Infinity }, RangeError, "delay must be"],
    [{ delay: "1 1 x 1" }, TypeError, "delay must be"],
    [{ payload: "text" }, TypeError, "payload must be an object or an array"],
    [{ payload: null }, TypeError, "payload must be an object or an array"],
    [{ payload: () => {} }, TypeError, "payload must be an object or an array"],
    [{ payload: { big: 1n } }, TypeError, "payload cannot be written as JSON"],
  ];
  for (const [fields, errorClass, message] of wrong) {
    assertThrows(() => formatNewTask({ id: "a", ...fields } as NewTask), errorClass, message);
  }
});

Deno.test("Each payload arrives as it was, whatever its texts hold", () => {
  const every = String.fromCharCode(...Array.from({ length: 0x2030 }, (_, code) => code));
  const payloads: Json[] = [{}, [], { every, "\u007f": ["\u0085", "\ud800"] }, [1e300, -0.5, null]];
  for (const payload of payloads) {
    const line = formatNewTask({ id: "a", payload });
    const command = parseProducerCommand(line.slice(0, -1));
    assertEquals(command.kind, "create");
    const text = command.kind === "create" ? command.task.payload : undefined;
    assertEquals(JSON.parse(text as string), payload);
  }
});

Deno.test("What is left out of a task has the documented value, and no delay is no schedule", () => {
  assertEquals(formatNewTask({ id: "a" }), "CREATE 2 a 60\n");
  assertEquals(formatNewTask({ id: "a", delay: 0 }), "CREATE 2 a 60\n");
  const all: NewTask = { id: "a", priority: 1, duration: 0.5, payload: [1], delay: 2.5 };
  assertEquals(formatNewTask(all), "SCHEDULE 2.5 1 a 0.5 [1]\n");
});
