import { fuzz } from "../lab/load/line_fuzzer.ts";
import { Random } from "../lab/random.ts";
import { withSeed } from "../lab/seed.ts";

Deno.test(
  "Codec and framing stand 1,000,000 mutated lines, cut anywhere",
  { permissions: "none" },
  () => withSeed((seed) => fuzz(new Random(seed), 1_000_000)),
);
