/**
 * Giving up permissions that a program has and does not need any more.
 *
 * @module
 */

const all: readonly Deno.PermissionDescriptor["name"][] = [
  "read",
  "write",
  "net",
  "run",
  "env",
  "sys",
  "ffi",
  "import",
];

/**
 * Gives up each permission but the named ones, for good: what a peer could make the program do is
 * then refused by Deno.
 */
export function keepPermissions(...kept: readonly Deno.PermissionDescriptor["name"][]): void {
  for (const name of all) {
    if (!kept.includes(name)) Deno.permissions.revokeSync({ name });
  }
}
