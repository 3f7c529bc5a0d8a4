/**
 * A port for a server that is to come later, or to come back.
 *
 * @module
 */

/**
 * Where ports are taken from: below those that Linux gives to whoever asks for any (32768 to 60999),
 * as each connection and each other test does. Such a port could be somebody else's a moment later.
 */
const range = { first: 20_000, size: 12_000 };

/** A port of 127.0.0.1 on which nothing listens just now, and that the system gives to nobody. */
export function freePort(): number {
  for (;;) {
    const port = range.first + Math.floor(Math.random() * range.size);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
