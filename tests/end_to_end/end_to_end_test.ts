import { endToEndTests } from "./end_to_end.ts";
import { denoRun } from "../lab/processes.ts";

await endToEndTests(denoRun);
