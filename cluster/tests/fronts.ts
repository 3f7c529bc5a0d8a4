/**
 * Fronts in the process of a test.
 *
 * @module
 */

import { Access } from "../../lib/server/access.ts";
import { serve } from "../../lib/server/serve.ts";
import type { DialoguePorts } from "../../tests/lab/dialogues.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { EngineTasks } from "../engine_tasks.ts";

/** What a front of a test may do differently. */
interface FrontOptions {
  /** Whether it looks once per second for tasks of other fronts; true if left out. */
  readonly beats?: boolean;
  /** The token that it asks for. */
  readonly token?: string | undefined;
}

/** A front in this process; it ends with its scope. */
export class OwnFront implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #serving: Promise<void>;
  readonly #stop = new AbortController();
  readonly #ended = new AbortController();
  readonly #beat: ReturnType<typeof setInterval> | undefined;
  /** Where it listens. */
  readonly ports: DialoguePorts;

  private constructor(
    engine: Engine,
    ended: AbortController,
    { beats, access }: { readonly beats: boolean; readonly access: Access | undefined },
  ) {
    this.#engine = engine;
    this.#ended = ended;
    const address = { hostname: "127.0.0.1", port: 0 };
    const listeners = { producers: Deno.listen(address), consumers: Deno.listen(address) };
    this.ports = {
      producers: listeners.producers.addr.port,
      consumers: listeners.consumers.addr.port,
    };
    const failure = Promise.withResolvers<never>();
    const tasks = new EngineTasks(engine, {
      epochMs: Date.now() - performance.now(),
      onFailure: failure.reject,
    });
    engine.onNotice(() => tasks.notice());
    this.#beat = beats ? setInterval(() => tasks.beat(), 1000) : undefined;
    this.#serving = serve(listeners, tasks, {
      signal: this.#stop.signal,
      errors: { write: () => {} },
      access,
      failure: failure.promise,
    });
  }

  /** Opens a front of a queue. */
  static async open(
    hosts: string,
    database: string,
    { beats = true, token }: FrontOptions = {},
  ): Promise<OwnFront> {
    const ended = new AbortController();
    const address = parseEngineAddress(`postgres://front@${hosts}/${database}`);
    const say = () => {};
    const access = token === undefined ? undefined : await Access.of(token, { say });
    const engine = await Engine.open({ address, say, signal: ended.signal });
    return new OwnFront(engine, ended, { beats, access });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#serving;
    clearInterval(this.#beat);
    await this.#engine.close();
    this.#ended.abort();
  }
}
