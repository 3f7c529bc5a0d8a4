/**
 * Addresses: a host and a port. Whether anybody is there is for others to find out.
 *
 * @module
 */

/** A host and a port. */
export interface Address {
  /** An IPv4 address; for those who connect also a name. */
  readonly hostname: string;
  /** 0 to 65535. A server that listens on port 0 gets a port that the system chooses. */
  readonly port: number;
}

/** Writes an address as `127.0.0.1:5000`. */
export function formatAddress({ hostname, port }: Address): string {
  return `${hostname}:${port}`;
}
