/**
 * Blocking sockets and epoll of the C library, for the load program alone.
 *
 * Deno's own sockets cost as much a request as the servers that are measured, so that the load
 * program would be the limit; these cost little more than the system calls. Linux only.
 *
 * @module
 */

const { symbols: libc } = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  // size_t and ssize_t, but never more than a buffer's length: a number is faster than a bigint.
  send: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  recv: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
});

const inet = 2;
const stream = 1;
const tcp = 6;
const noDelay = 1;
const socketLevel = 1;
const [receiveTimeout, sendTimeout] = [20, 21];
const noSignal = 0x4000;
const dontWait = 0x40;

/** Longest wait of a blocking call, in seconds: a server that hangs must not hang the run. */
const timeoutSeconds = 20n;

/** struct epoll_event is packed on x86-64 alone; in 32-bit words. */
const eventWords = Deno.build.arch === "x86_64" ? 3 : 4;
const maxEvents = 256;

/** Connects to a port of 127.0.0.1, with TCP_NODELAY. */
export function connect(port: number): number {
  const fd = check(libc.socket(inet, stream, 0), "socket");
  check(libc.setsockopt(fd, tcp, noDelay, new Uint8Array([1, 0, 0, 0]), 4), "setsockopt");
  const timeout = new Uint8Array(new BigInt64Array([timeoutSeconds, 0n]).buffer);
  check(libc.setsockopt(fd, socketLevel, receiveTimeout, timeout, 16), "setsockopt");
  check(libc.setsockopt(fd, socketLevel, sendTimeout, timeout, 16), "setsockopt");
  const address = new Uint8Array(16);
  address.set([inet, 0, port >> 8, port & 255, 127, 0, 0, 1]);
  check(libc.connect(fd, address, 16), `connect to port ${port}`);
  return fd;
}

/** Closes a socket. */
export function close(fd: number): void {
  libc.close(fd);
}

/** Sends the first bytes of a buffer, all of them. */
export function send(fd: number, bytes: Uint8Array<ArrayBuffer>, length: number): void {
  let sent = libc.send(fd, bytes, length, noSignal);
  while (sent >= 0 && sent < length) {
    const more = libc.send(fd, bytes.subarray(sent), length - sent, noSignal);
    if (more < 0) break;
    sent += more;
  }
  if (sent !== length) throw new Error("send failed: the server has gone or reads no more");
}

/** Receives what is there, into the buffer from an offset on; 0 where nothing is. */
export function receive(fd: number, buffer: Uint8Array<ArrayBuffer>, offset: number): number {
  const rest = offset === 0 ? buffer : buffer.subarray(offset);
  const received = libc.recv(fd, rest, rest.length, dontWait);
  if (received === 0) throw new Error("the server has closed a connection");
  return Math.max(received, 0);
}

/** Waits for any of many sockets. */
export class Poller {
  readonly #fd = check(libc.epoll_create1(0), "epoll_create1");
  readonly #events = new Uint32Array(eventWords * maxEvents);
  readonly #eventBytes = new Uint8Array(this.#events.buffer);

  /** Watches a socket for input; `key` tells it from the others. */
  add(fd: number, key: number): void {
    const event = new Uint32Array(eventWords);
    event[0] = 1; // EPOLLIN
    event[eventWords - 2] = key;
    check(libc.epoll_ctl(this.#fd, 1, fd, new Uint8Array(event.buffer)), "epoll_ctl");
  }

  /** Waits for at most some milliseconds. Returns how many sockets have input. */
  wait(timeoutMs: number): number {
    return libc.epoll_wait(this.#fd, this.#eventBytes, maxEvents, timeoutMs);
  }

  /** The key of a socket that the last wait has found. */
  key(index: number): number {
    return this.#events[index * eventWords + eventWords - 2] as number;
  }

  [Symbol.dispose](): void {
    libc.close(this.#fd);
  }
}

function check(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed`);
  return result;
}
