/**
 * A network of its own for a process of a test, with a cable to this one that can be pulled.
 *
 * @module
 */

/** A namespace; it goes with its scope. Only root may make one. */
export class NetworkNamespace implements Disposable {
  readonly #name: string;
  /** The address of this side. */
  readonly here: string;
  /** The address of the other side. */
  readonly there: string;

  /**
   * Makes one.
   *
   * @throws {Error} this process may not, or there is no program `ip`.
   */
  constructor() {
    const id = Deno.pid % 60_000;
    this.#name = `queue${id}`;
    const net = `10.${200 + (id >> 14)}.${(id >> 6) & 255}`;
    const first = (id & 63) * 4;
    this.here = `${net}.${first + 1}`;
    this.there = `${net}.${first + 2}`;
    ip("netns", "add", this.#name);
    try {
      ip("link", "add", this.#cable, "type", "veth", "peer", "name", "out", "netns", this.#name);
      ip("address", "add", `${this.here}/30`, "dev", this.#cable);
      ip("-n", this.#name, "address", "add", `${this.there}/30`, "dev", "out");
      ip("-n", this.#name, "link", "set", "lo", "up");
      ip("-n", this.#name, "link", "set", "out", "up");
      this.plug();
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get #cable(): string {
    return `${this.#name}v`;
  }

  /** What runs a command there. */
  get prefix(): readonly string[] {
    return ["ip", "netns", "exec", this.#name];
  }

  /** Has nothing arrive any more, in either direction. */
  pull(): void {
    ip("link", "set", this.#cable, "down");
  }

  /** Ends that. */
  plug(): void {
    ip("link", "set", this.#cable, "up");
  }

  /** Removes it, and the cable with it. */
  [Symbol.dispose](): void {
    ip("netns", "delete", this.#name);
  }
}

/** Why there can be none here; undefined if there can. */
export function noNamespace(): string | undefined {
  try {
    using _namespace = new NetworkNamespace();
    return undefined;
  } catch {
    return "only root may make a network namespace";
  }
}

function ip(...args: readonly string[]): void {
  const { success, stderr } = new Deno.Command("ip", {
    ...{ args: [...args], stdout: "null", stderr: "piped" },
  }).outputSync();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}
