/** @module Cost of a text as bytes: in a buffer that is used again, and in a new one each time. */

import { ByteBuffer } from "../../lib/byte_buffer.ts";

const encoder = new TextEncoder();
const buffer = new ByteBuffer(1024);
const reply = "ASSIGN task1234567 3.0\n";

Deno.bench("ByteBuffer.addText() and clear()", { group: "bytes" }, () => {
  buffer.addText(reply);
  buffer.clear();
});

Deno.bench("TextEncoder.encode()", { group: "bytes" }, () => {
  encoder.encode(reply);
});
