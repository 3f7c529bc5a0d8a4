/**
 * The first words with a server: whether it is one, and whether it is this port.
 *
 * @module
 */

import type { ServerAddress } from "./transport.ts";
import { formatAddress } from "../address.ts";
import { formatCommand, parseReason, type Port } from "../core/protocol.ts";
import { type Answer, Dialogue, type Question } from "./dialogue.ts";
import { DisconnectedError, NotServedError, QueueError } from "./queue_error.ts";

/** How long a server may take for its first words, in milliseconds. */
export const openingMs = 10_000;

/**
 * Connects and asks the first questions, of which the last must be answered by `OK`.
 *
 * @throws {DisconnectedError} the next attempt may succeed.
 * @throws {QueueError} what listens there is something else, or does not want us.
 */
export async function openAndCheck(
  address: ServerAddress,
  signal: AbortSignal,
  opening: { readonly questions: readonly Question[]; readonly port: Port },
): Promise<{ dialogue: Dialogue; answers: readonly Answer[] }> {
  const opened = await openDialogue(address, withToken(opening.questions, address), signal);
  const problem = findProblem(opened.answers, { address, port: opening.port });
  if (problem === undefined) return opened;
  opened.dialogue.close(problem);
  const reason = problem instanceof NotServedError ? parseReason(problem.reason) : undefined;
  throw reason?.kind === "too many connections" ? new DisconnectedError([], problem) : problem;
}

/** The questions, before which the token is said if there is one: nothing answers the right one. */
function withToken(questions: readonly Question[], { token }: ServerAddress): readonly Question[] {
  if (token === undefined) return questions;
  const line = `${formatCommand({ kind: "auth", token })}\n`;
  return questions.map((question, i) =>
    i === 0 ? { ...question, text: line + question.text } : question
  );
}

async function openDialogue(
  address: ServerAddress,
  questions: readonly Question[],
  signal: AbortSignal,
): Promise<{ dialogue: Dialogue; answers: readonly Answer[] }> {
  try {
    return await Dialogue.open(address, questions, signal);
  } catch (error) {
    // What it says is no reply: it is no such server, and will be none at the next attempt.
    const cause = error instanceof DisconnectedError ? error.cause : undefined;
    throw cause instanceof QueueError ? cause : error;
  }
}

function findProblem(
  answers: readonly Answer[],
  { address, port }: { readonly address: ServerAddress; readonly port: Port },
): QueueError | undefined {
  const [first, last] = [answers[0]?.reply.kind, answers.at(-1)?.reply];
  const peer = formatAddress(address);
  const isWrongPort = first === (port === "producer" ? "greeting" : "ok");
  if (isWrongPort) return new QueueError(`${peer} is not the ${port} port, but the other one`);
  const refusal = answers.map(({ reply }) => reply).find((reply) => reply.kind === "error");
  if (refusal?.kind === "error") return new NotServedError(peer, refusal.reason);
  return last?.kind === "ok" && last.count === 0
    ? undefined
    : new QueueError(`${peer} does not answer as a new connection`);
}
