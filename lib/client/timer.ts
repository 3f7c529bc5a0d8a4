/**
 * Timers that do not keep a process alive, and pauses that do.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";

/** Longest delay that setTimeout accepts: with a longer one it fires at once (HTML, 8.6 Timers). */
const maxTimeoutMs = 2 ** 31 - 1;

/**
 * Calls back once after some milliseconds, 24 days at most; until then the process may end.
 *
 * @returns what cancels it.
 */
export function after(ms: number, callback: () => void): () => void {
  const timer = setTimeout(callback, Math.min(ms, maxTimeoutMs));
  timer.unref();
  return () => clearTimeout(timer);
}

/**
 * Waits for some milliseconds, 24 days at most, or until the signal. The process lives on: somebody
 * waits for what comes after the pause.
 */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, Math.min(ms, maxTimeoutMs));
    signal.addEventListener("abort", wake);
  });
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
