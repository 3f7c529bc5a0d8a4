/**
 * Errors that the user caused or can fix. They are shown as a message, never as a stack trace.
 *
 * @module
 */

/** Ends the program; its message, of one or more lines, is all that the user sees. */
export class UserError extends Error {
  /** Names the class in messages. */
  override readonly name: string = "UserError";
}

/** The program was called wrongly: wrong arguments, or a task file with errors. */
export class UsageError extends UserError {
  /** Names the class in messages. */
  override readonly name = "UsageError";
}
