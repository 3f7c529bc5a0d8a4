/**
 * What a user did wrong, or what his machine refused: told to him in words, never as a stack trace.
 *
 * @module
 */

/** Ends a program with its message alone, which has one line or several. */
export class UserError extends Error {
  /** Names the class in messages. */
  override readonly name: string = "UserError";
}

/** A mistake in how a program was called: wrong arguments, or a task file with errors. */
export class UsageError extends UserError {
  /** Names the class in messages. */
  override readonly name = "UsageError";
}
