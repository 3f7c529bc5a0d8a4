/**
 * A bare TCP echo: what Deno itself costs a request, the floor for any server that runs on it.
 *
 * On a second port, where one is named, it reads and answers nothing, as this project's protocol
 * has it for producers.
 *
 * @module
 */

import { isDisconnect } from "../../lib/net/connection.ts";

if (import.meta.main) {
  const [echoPort, sinkPort] = Deno.args.map(Number);
  if (sinkPort !== undefined) serve(sinkPort, { answers: false });
  await serve(echoPort ?? 7, { answers: true });
}

async function serve(port: number, options: { answers: boolean }): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port });
  for await (const conn of listener) converse(conn, options);
}

async function converse(conn: Deno.TcpConn, { answers }: { answers: boolean }): Promise<void> {
  using _closing = conn;
  conn.setNoDelay(true);
  const buffer = new Uint8Array(16 * 1024);
  try {
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) return;
      for (let written = answers ? 0 : count; written < count;) {
        written += await conn.write(buffer.subarray(written, count));
      }
    }
  } catch (error) {
    if (!isDisconnect(error)) throw error;
  }
}
