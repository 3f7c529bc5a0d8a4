import { endToEndTests } from "./end_to_end/end_to_end.ts";
import { denoRun } from "./support/programs.ts";

await endToEndTests(denoRun);
