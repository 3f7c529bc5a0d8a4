/**
 * What can go wrong between a client and a queue: one class of error for each cause.
 *
 * A wrong argument is a TypeError or a RangeError instead, and an aborted signal rejects with the
 * signal's reason.
 *
 * @module
 */

/** Any error that a queue or the way to it causes; the other classes are more precise. */
export class QueueError extends Error {
  /** Names the class in messages. */
  override readonly name: string = "QueueError";
}

/** The server said ERROR: the task is not created, or what was said about it is not done. */
export class RefusedError extends QueueError {
  /** Names the class in messages. */
  override readonly name = "RefusedError";
  /** The task that was refused. */
  readonly taskId: string;
  /** What the server said: one line of printable text. */
  readonly reason: string;

  /** Makes the error of one task. */
  constructor(taskId: string, reason: string) {
    super(`the server refuses task ${JSON.stringify(taskId)}: ${reason}`);
    this.taskId = taskId;
    this.reason = reason;
  }
}

/**
 * The connection could not be made, or ended before the server confirmed. What was under way may
 * have been done or not. Its `cause` says why: the socket's error, in most cases.
 */
export class DisconnectedError extends QueueError {
  /** Names the class in messages. */
  override readonly name = "DisconnectedError";
  /** The tasks that were under way. */
  readonly taskIds: readonly string[];

  /** Makes the error of all tasks that one cause has hit. */
  constructor(taskIds: readonly string[], cause: Error) {
    super(`disconnected: ${cause.message}`, { cause });
    this.taskIds = taskIds;
  }
}

/** The server answers a new connection by ERROR: it does not serve this client. */
export class NotServedError extends QueueError {
  /** What the server said: one line of printable text. */
  readonly reason: string;

  /** Makes the error of one server. */
  constructor(address: string, reason: string) {
    super(`${address} does not serve this client: ${reason}`);
    this.reason = reason;
  }
}

/** The connection ended before the server read what was sent, as it has said: it may be sent again. */
export class UnreadError extends DisconnectedError {}

/**
 * The task is no longer held: its lease is over, its connection is gone, or it was given back.
 * Somebody else may have it. Its `cause`, if there is one, says how it was lost.
 */
export class LostTaskError extends QueueError {
  /** Names the class in messages. */
  override readonly name = "LostTaskError";
  /** The task that was lost. */
  readonly taskId: string;

  /** Makes the error of one task. */
  constructor(taskId: string, why: string, options?: ErrorOptions) {
    super(`task ${JSON.stringify(taskId)} is lost: ${why}`, options);
    this.taskId = taskId;
  }
}
