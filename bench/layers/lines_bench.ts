/**
 * Cost of the framing: bytes cut into lines, through TextLineStream, and by hand for comparison.
 *
 * @module
 */

import { LineCutter, LineSplitter } from "../../lib/net/lines.ts";
import { maxLineBytes } from "../../lib/core/protocol.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

for (const count of [1, 16]) {
  const chunk = encoder.encode("CREATE 1 task1234567 3.0\n".repeat(count));
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  const group = `${count} line${count === 1 ? "" : "s"} a chunk`;

  Deno.bench(`LineSplitter, ${group}`, { group }, async () => {
    await splitter.split(chunk);
  });
  // What TextLineStream costs: no bounds, no tail, no strictness beside the decoder's.
  Deno.bench(`decode and split by hand, ${group}`, { group }, async () => {
    const lines = decoder.decode(chunk).split("\n");
    lines.pop();
    await lines;
  });
}
