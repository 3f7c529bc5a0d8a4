/** @module Cost of the codec: one command read, one reply written. */

import {
  formatReply,
  parseConsumerCommand,
  parseProducerCommand,
} from "../../lib/core/protocol.ts";

Deno.bench("parse CREATE", { group: "codec" }, () => {
  parseProducerCommand("CREATE 1 task1234567 3.0");
});

Deno.bench("parse CREATE, task_id not ASCII", { group: "codec" }, () => {
  parseProducerCommand("CREATE 1 작업1234567 3.0");
});

Deno.bench("parse REQUEST", { group: "codec" }, () => {
  parseConsumerCommand("REQUEST");
});

Deno.bench("format ASSIGN", { group: "codec" }, () => {
  formatReply({ kind: "assign", taskId: "task1234567", duration: "3.0" });
});
