/**
 * What Linux tells of processes: which there are, CPU time, memory, rights.
 *
 * @module
 */

/** Ticks a second of the times in /proc: the same on every Linux that Deno runs on. */
const ticksPerSecond = 100;

/** CPU time that all threads of a process have used, in seconds; steps of 10 ms. */
export function cpuSeconds(pid: number | "self"): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses, and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [utime, stime] = [Number(fields[11]), Number(fields[12])];
  return (utime + stime) / ticksPerSecond;
}

/** Resident memory of a process, in bytes. */
export function rssBytes(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/VmRSS:\s*(\d+) kB/.exec(status)?.[1]) * 1024;
}

/** The processes whose command line has these words, in any order; of whatever container. */
export function processesWith(...words: readonly string[]): number[] {
  const pids = [...Deno.readDirSync("/proc")].map(({ name }) => Number(name)).filter(Boolean);
  return pids.filter((pid) => {
    try {
      const args = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
      return words.every((word) => args.includes(word));
    } catch {
      return false; // It has ended meanwhile.
    }
  });
}

/** The fields of /proc/PID/status, as text. */
export function statusOf(pid: number): Readonly<Record<string, string>> {
  const lines = Deno.readTextFileSync(`/proc/${pid}/status`).trim().split("\n");
  return Object.fromEntries(lines.map((line) => line.split(":\t") as [string, string]));
}
