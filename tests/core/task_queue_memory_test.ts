import { assertLess } from "@std/assert";

/**
 * Bytes of memory that a waiting task takes, in a process of its own.
 *
 * @param chunkBytes the length of the text that each task's fields are cut out of.
 */
async function bytesOfTask(chunkBytes: number): Promise<number> {
  const module = new URL("../../lib/core/task_queue.ts", import.meta.url);
  const script = `
    import { TaskQueue } from ${JSON.stringify(module.href)};
    const queue = new TaskQueue({ maxTasks: Infinity });
    const filler = new Uint8Array(${chunkBytes}).fill(65);
    const add = (count) => {
      for (let n = 0; n < count; n++) {
        const chunk = new TextDecoder().decode(filler) + n;
        const taskId = chunk.slice(-20);
        queue.admit(queue.create({ priority: 1 + n % 3, taskId, duration: "12.5" }));
      }
    };
    const measure = () => {
      gc();
      gc();
      return Deno.memoryUsage().heapUsed;
    };
    add(1000);
    const before = measure();
    add(20000);
    console.log((measure() - before) / 20000, queue.size);`;
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(file, script);
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--v8-flags=--expose-gc", file],
  }).output();
  await Deno.remove(file);
  return Number.parseFloat(new TextDecoder().decode(stdout));
}

Deno.test("A waiting task takes less than 100 bytes, and keeps nothing of the text it came with", async () => {
  assertLess(await bytesOfTask(100), 100);
  assertLess(await bytesOfTask(16 * 1024), 100);
});
