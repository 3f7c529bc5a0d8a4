import { registerTests } from "./end_to_end.ts";
import { denoRun } from "../lab/processes.ts";

registerTests(denoRun);
