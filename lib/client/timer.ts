/**
 * Timers that do not keep a process alive, and pauses that do.
 *
 * @module
 */

import { clearTimeout, setTimeout } from "node:timers";

/** Longest delay that setTimeout accepts: with a longer one it fires at once (HTML, 8.6 Timers). */
const maxTimeoutMs = 2 ** 31 - 1;

/**
 * Calls back once after some milliseconds, which may be months or Infinity; until then the process
 * may end.
 *
 * @returns what cancels it.
 */
export function after(ms: number, callback: () => void): () => void {
  return startTimer(ms, callback, { keepsAlive: false });
}

/** Calls back after any time: by one timer after the other if it is longer than one may be. */
function startTimer(
  ms: number,
  callback: () => void,
  { keepsAlive }: { readonly keepsAlive: boolean },
): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const arm = (restMs: number) => {
    const isLast = restMs <= maxTimeoutMs;
    timer = setTimeout(() => {
      if (isLast) callback();
      else arm(restMs - maxTimeoutMs);
    }, isLast ? restMs : maxTimeoutMs);
    if (!keepsAlive) timer.unref();
  };
  arm(ms);
  return () => clearTimeout(timer);
}

/**
 * Waits for some milliseconds, or until the signal. The process lives on: somebody waits for what
 * comes after the pause.
 */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    const wake = () => {
      cancel();
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const cancel = startTimer(ms, wake, { keepsAlive: true });
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
