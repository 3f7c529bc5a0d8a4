/**
 * What becomes of a task when its command has ended. Pure.
 *
 * The exit codes are those that others use: 75 and 65 are sysexits' EX_TEMPFAIL and EX_DATAERR, 126
 * and 127 are what shells and `env` say when they cannot run a command.
 *
 * @module
 */

/** How a command ended. */
export type CommandEnd =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: string }
  /** It ran too long, and was ended for it. */
  | { readonly kind: "timed out"; readonly afterMs: number }
  /** It was ended because the worker ends, or because the task is not held any more. */
  | { readonly kind: "told to stop" }
  /** It never ran. It will not next time either, unless the system was merely short of something. */
  | { readonly kind: "not started"; readonly problem: string; readonly isForGood: boolean };

/** What to say of the task, and why. */
export type Verdict =
  | { readonly say: "complete" }
  | { readonly say: "fail" | "bury"; readonly why: string }
  /** The task is not to blame; it may be taken again after so many seconds. */
  | { readonly say: "release"; readonly why: string; readonly delaySeconds: number }
  /** As release, and this worker cannot work: each further task would go the same way. */
  | { readonly say: "give up"; readonly why: string };

/** The exit code for "never again": the data is wrong. */
const dataError = 65;

/** The exit code for "later": what is needed is not there at the moment. */
const temporaryFailure = 75;

/** How long a task rests that is to be tried later, in seconds. */
export const laterSeconds = 10;

/** Decides what the end of a command means for its task. */
export function judge(end: CommandEnd): Verdict {
  switch (end.kind) {
    case "exited":
      return judgeExit(end.code);
    case "killed":
      return { say: "fail", why: `killed by ${end.signal}` };
    case "timed out":
      return { say: "fail", why: `ended after ${Math.round(end.afterMs / 1000)} s: too long` };
    case "told to stop":
      return { say: "release", why: "told to stop", delaySeconds: 0 };
    case "not started":
      return end.isForGood
        ? { say: "give up", why: end.problem }
        : { say: "release", why: end.problem, delaySeconds: laterSeconds };
    default:
      return end satisfies never;
  }
}

function judgeExit(code: number): Verdict {
  const why = `exit ${code}`;
  switch (code) {
    case 0:
      return { say: "complete" };
    case dataError:
      return { say: "bury", why };
    case temporaryFailure:
      return { say: "release", why, delaySeconds: laterSeconds };
    case 126:
      return { say: "give up", why: `${why}: it cannot be executed` };
    case 127:
      return { say: "give up", why: `${why}: it is not found` };
    default:
      return { say: "fail", why };
  }
}
