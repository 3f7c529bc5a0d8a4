import { Random } from "../lab/random.ts";
import { fuzz } from "../lab/load/line_fuzzer.ts";

Deno.test(
  "Codec and framing stand 50,000 mutated lines, cut anywhere",
  { permissions: "none" },
  async () => {
    const seed = Date.now() % 1_000_000_000;
    try {
      await fuzz(new Random(seed), 50_000);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  },
);
