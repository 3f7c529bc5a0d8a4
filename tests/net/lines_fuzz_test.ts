import { fuzz } from "../lab/load/line_fuzzer.ts";

Deno.test(
  "Codec and framing stand 50,000 mutated lines, cut anywhere",
  { permissions: "none" },
  () => fuzz(Date.now() % 1_000_000_000, 50_000),
);
