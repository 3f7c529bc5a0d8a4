/**
 * Timers that do not keep a process alive, and signals that are listened to for a while.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";
import { maxTimeoutMs } from "../clock.ts";

/**
 * Calls back once after some milliseconds, which may be months or Infinity; until then the process
 * may end.
 *
 * @returns what cancels it.
 */
export function after(ms: number, callback: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const arm = (restMs: number) => {
    const isLast = restMs <= maxTimeoutMs;
    timer = setTimeout(() => {
      if (isLast) callback();
      else arm(restMs - maxTimeoutMs);
    }, isLast ? restMs : maxTimeoutMs);
    timer.unref();
  };
  arm(ms);
  return () => clearTimeout(timer);
}

/**
 * Calls back when the signal is aborted; at once if it is aborted already.
 *
 * @returns what makes it forget.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => {};
  if (signal.aborted) {
    callback();
    return () => {};
  }
  signal.addEventListener("abort", callback, { once: true });
  return () => signal.removeEventListener("abort", callback);
}
