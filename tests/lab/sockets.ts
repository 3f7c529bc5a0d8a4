/**
 * What netstat shows, read from where netstat reads it.
 *
 * @module
 */

/** A socket of this machine. */
export interface SocketState {
  /** The port at this end. */
  readonly localPort: number;
  /** The port at the other end; 0 where it listens. */
  readonly remotePort: number;
  /** As netstat calls it. */
  readonly state: string;
}

/** The kernel's numbers of the states of TCP (include/net/tcp_states.h). */
const states = [
  "",
  "ESTABLISHED",
  "SYN_SENT",
  "SYN_RECV",
  "FIN_WAIT1",
  "FIN_WAIT2",
  "TIME_WAIT",
  "CLOSE",
  "CLOSE_WAIT",
  "LAST_ACK",
  "LISTEN",
  "CLOSING",
];

/** True where the kernel tells its sockets. */
export const canReadSockets: boolean = Deno.build.os === "linux";

/**
 * Watches ports on which a server has just begun to listen.
 *
 * @returns a function that lists the IPv4 sockets with one of these ports at either end, without
 * what is older: a closed client of another server may have had the same port.
 */
export async function watchPorts(ports: readonly number[]): Promise<() => Promise<SocketState[]>> {
  const key = ({ localPort, remotePort }: SocketState) => `${localPort} ${remotePort}`;
  const older = new Set(
    (await socketsOf(ports)).filter(({ state }) => state === "TIME_WAIT").map(key),
  );
  return async () => (await socketsOf(ports)).filter((socket) => !older.has(key(socket)));
}

async function socketsOf(ports: readonly number[]): Promise<SocketState[]> {
  const table = await Deno.readTextFile("/proc/net/tcp");
  return table.trim().split("\n").slice(1).map(parseSocket).filter((socket) =>
    ports.includes(socket.localPort) || ports.includes(socket.remotePort)
  );
}

function parseSocket(row: string): SocketState {
  const [, local, remote, state] = row.trim().split(/\s+/) as [string, string, string, string];
  const port = (address: string) => parseInt(address.slice(address.indexOf(":") + 1), 16);
  return {
    localPort: port(local),
    remotePort: port(remote),
    state: states[parseInt(state, 16)] ?? state,
  };
}
