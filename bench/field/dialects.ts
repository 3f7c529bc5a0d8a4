/**
 * How each server is spoken to, in bytes: what creates a task, what asks for one, and which line
 * of the answer hands one out.
 *
 * Nothing is confirmed that need not be, and what a server permits to be sent together is.
 *
 * | server | to create a task | to ask for one |
 * |---|---|---|
 * | this project | CREATE | REQUEST |
 * | beanstalkd | put | reserve, and delete of the task reserved before |
 * | Redis | ZADD | ZPOPMIN |
 * | NATS JetStream | PUB | pull of 1, and ack of the task pulled before |
 * | echo | nothing, or a line that is not answered | a line there and back |
 *
 * @module
 */

/** The name of a way to speak. */
export type DialectName = "queue" | "beanstalkd" | "redis" | "nats" | "echo" | "echo2";

const encoder = new TextEncoder();
const lf = 0x0a;

/** Bytes to send. */
export class Outbox {
  /** The bytes, of which the first `length` count. */
  bytes = new Uint8Array(1024);
  /** How many bytes wait. */
  length = 0;

  /** Adds bytes. */
  add(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.bytes.length) {
      const longer = new Uint8Array(2 * (this.length + bytes.length));
      longer.set(this.bytes);
      this.bytes = longer;
    }
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

/** Bytes that are the same for each task but for its priority, `@`, and its number, `########`. */
class Template {
  readonly #bytes: Uint8Array;
  readonly #priorityAt: number;
  readonly #numberEnd: number;

  constructor(text: string) {
    this.#bytes = encoder.encode(text);
    this.#priorityAt = text.indexOf("@");
    this.#numberEnd = text.lastIndexOf("#");
  }

  fill(out: Outbox, priority: number, number: number): void {
    const start = out.length;
    out.add(this.#bytes);
    if (this.#priorityAt !== -1) out.bytes[start + this.#priorityAt] = 0x30 + priority;
    for (let at = start + this.#numberEnd, rest = number, i = 0; i < 8; i++, at--) {
      out.bytes[at] = 0x30 + rest % 10;
      rest = (rest / 10) | 0;
    }
  }
}

/** What a line of a server means. */
export type Meaning = "nothing" | "task" | "no task" | "barrier";

/** One client's side of a dialogue. */
export interface Dialect {
  /** What is sent first where tasks are asked for. */
  readonly hello: string;
  /** What is answered by one "barrier" line after all that was sent before. */
  readonly barrier: string;
  /** Adds what creates a task: a priority of 1 to 3, a number below 10^8. */
  create(out: Outbox, priority: number, number: number): void;
  /** Adds what asks for a task. */
  request(out: Outbox): void;
  /**
   * Reads one line, from `start` to its LF at `end`.
   *
   * @param out takes what the line makes necessary: a delete, an ack.
   */
  read(bytes: Uint8Array, start: number, end: number, out: Outbox): Meaning;
}

/** Makes a client's side; `client` tells it from the other clients. */
export function makeDialect(name: DialectName, client: number): Dialect {
  switch (name) {
    case "queue":
      return queueDialect();
    case "beanstalkd":
      return beanstalkdDialect();
    case "redis":
      return redisDialect();
    case "nats":
      return natsDialect(client);
    case "echo":
      return echoDialect();
    case "echo2":
      return twoPortEchoDialect();
    default:
      return name satisfies never;
  }
}

function refuse(bytes: Uint8Array, start: number, end: number): never {
  const line = new TextDecoder().decode(bytes.subarray(start, end));
  throw new Error(`unexpected answer: ${line}`);
}

function isAt(bytes: Uint8Array, start: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[start + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** A dialect whose two commands are the same bytes for each task but for its number. */
function fixed(
  create: string,
  request: string,
  rest: Pick<Dialect, "barrier" | "read"> & Partial<Dialect>,
): Dialect {
  const [template, question] = [new Template(create), encoder.encode(request)];
  return {
    hello: "",
    create: (out, priority, number) => template.fill(out, priority, number),
    request: (out) => out.add(question),
    ...rest,
  };
}

function queueDialect(): Dialect {
  return fixed("CREATE @ t######## 3.0\n", "REQUEST\n", {
    barrier: "SYNC\n",
    read(bytes, start, end) {
      if (isAt(bytes, start, "ASSIGN t")) return "task";
      if (isAt(bytes, start, "NOTASK")) return "no task";
      if (isAt(bytes, start, "OK ")) return "barrier";
      return isAt(bytes, start, "Consumer") ? "nothing" : refuse(bytes, start, end);
    },
  });
}

function beanstalkdDialect(): Dialect {
  const remove = encoder.encode("delete ");
  return fixed("put @ 0 60 13\r\nt######## 3.0\r\n", "reserve\r\n", {
    barrier: "use default\r\n",
    read(bytes, start, end, out) {
      if (isAt(bytes, start, "RESERVED ")) {
        let idEnd = start + 9;
        while (bytes[idEnd] !== 0x20) idEnd++;
        out.add(remove);
        out.add(bytes.subarray(start + 9, idEnd));
        out.add(crlf);
        return "task";
      }
      if (isAt(bytes, start, "USING ")) return "barrier";
      const isExpected = bytes[start] === 0x74 || isAt(bytes, start, "INSERTED") ||
        isAt(bytes, start, "DELETED");
      return isExpected ? "nothing" : refuse(bytes, start, end);
    },
  });
}

function redisDialect(): Dialect {
  const create = "*4\r\n$4\r\nZADD\r\n$1\r\nq\r\n$1\r\n@\r\n$13\r\nt######## 3.0\r\n";
  return fixed(create, "*2\r\n$7\r\nZPOPMIN\r\n$1\r\nq\r\n", {
    barrier: "*1\r\n$4\r\nPING\r\n",
    read(bytes, start, end) {
      if (isAt(bytes, start, "*2")) return "task";
      if (isAt(bytes, start, "+PONG")) return "barrier";
      if (isAt(bytes, start, "*0")) return "no task";
      return bytes[start] === 0x2d ? refuse(bytes, start, end) : "nothing";
    },
  });
}

function natsDialect(client: number): Dialect {
  // JetStream has no priorities within a stream: this is first in, first out.
  const create = new Template("PUB tasks 13\r\nt######## 3.0\r\n");
  const inbox = `inbox.${client}`;
  const request = encoder.encode(`PUB $JS.API.CONSUMER.MSG.NEXT.TASKS.all ${inbox} 1\r\n1\r\n`);
  const publish = encoder.encode("PUB ");
  const empty = encoder.encode(" 0\r\n\r\n");
  return {
    hello: `CONNECT {"verbose":false,"pedantic":false}\r\nSUB ${inbox} 1\r\n`,
    barrier: "PING\r\n",
    create: (out, _priority, number) => create.fill(out, 0, number),
    request: (out) => out.add(request),
    read(bytes, start, end, out) {
      if (isAt(bytes, start, "MSG tasks ")) {
        // MSG tasks <sid> <where to acknowledge> <length>
        const ackStart = bytes.indexOf(0x20, start + 10) + 1;
        out.add(publish);
        out.add(bytes.subarray(ackStart, bytes.indexOf(0x20, ackStart)));
        out.add(empty);
        return "task";
      }
      if (isAt(bytes, start, "PONG")) return "barrier";
      const isExpected = bytes[start] === 0x74 || isAt(bytes, start, "INFO ");
      return isExpected ? "nothing" : refuse(bytes, start, end);
    },
  };
}

function echoDialect(): Dialect {
  return fixed("CREATE @ t######## 3.0\n", "", {
    barrier: "SYNC\n",
    read: (bytes, start) => isAt(bytes, start, "CREATE ") ? "task" : "barrier",
  });
}

function twoPortEchoDialect(): Dialect {
  return fixed("CREATE @ t######## 3.0\n", "REQUEST\n", {
    barrier: "SYNC\n",
    read: (bytes, start) => isAt(bytes, start, "REQUEST") ? "task" : "barrier",
  });
}

const crlf = encoder.encode("\r\n");

/** The index of the next LF in the first bytes of a buffer, or -1. */
export function indexOfLf(bytes: Uint8Array, start: number, end: number): number {
  for (let i = start; i < end; i++) {
    if (bytes[i] === lf) return i;
  }
  return -1;
}
