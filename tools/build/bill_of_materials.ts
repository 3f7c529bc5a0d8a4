/**
 * The bill of materials of a release, as CycloneDX 1.6: what the executables contain. Pure.
 *
 * @module
 */

/** An npm package that the programs reach at run time. */
export interface NpmPackage {
  /** Its name on npm. */
  readonly name: string;
  /** Its version. */
  readonly version: string;
  /** Its hash as deno.lock has it: `sha512-`, and base64. */
  readonly integrity: string;
  /** The SPDX id of its licence. */
  readonly license: string;
}

/** A denort that executables of the release embed. */
export interface EmbeddedDenort {
  /** The target triple of those executables. */
  readonly target: string;
  /** Its version; undefined if it is not known. */
  readonly version: string | undefined;
  /** Its SHA-256 in hex; undefined if Deno itself keeps the file. */
  readonly sha256: string | undefined;
  /** Where it comes from, for people. */
  readonly origin: string;
}

/** What a bill of materials tells. */
export interface Release {
  /** The project's name. */
  readonly name: string;
  /** The project's version. */
  readonly version: string;
  /** The SPDX id of the project's licence. */
  readonly license: string;
  /** The commit that the release is made of, in hex. */
  readonly commit: string;
  /** When the commit was made. */
  readonly date: Date;
  /** The Deno that compiled it. */
  readonly deno: string;
  /** The packages. */
  readonly packages: readonly NpmPackage[];
  /** A denort per target. */
  readonly denorts: readonly EmbeddedDenort[];
}

/** The bill as JSON text. The same release gives the same bytes. */
export function billOfMaterials(release: Release): string {
  const root = `${release.name}@${release.version}`;
  const components = [
    ...release.packages.map(npmComponent),
    ...release.denorts.map(denortComponent),
  ];
  const bill = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    // A uuid of the kind whose bits are one's own (8): the commit's, so that it is made only once.
    serialNumber: `urn:uuid:${uuidOf(release.commit)}`,
    version: 1,
    metadata: {
      timestamp: release.date.toISOString(),
      lifecycles: [{ phase: "build" }],
      tools: { components: [{ type: "application", name: "deno", version: release.deno }] },
      component: {
        type: "application",
        "bom-ref": root,
        name: release.name,
        version: release.version,
        licenses: [{ license: { id: release.license } }],
        properties: [{ name: "commit", value: release.commit }],
      },
    },
    components,
    dependencies: [
      { ref: root, dependsOn: components.map((component) => component["bom-ref"]) },
      ...components.map((component) => ({ ref: component["bom-ref"] })),
    ],
  };
  return `${JSON.stringify(bill, undefined, 2)}\n`;
}

function npmComponent({ name, version, integrity, license }: NpmPackage) {
  const [, base64 = ""] = /^sha512-(.+)$/.exec(integrity) ?? [];
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    scope: "required",
    hashes: [{ alg: "SHA-512", content: Uint8Array.fromBase64(base64).toHex() }],
    licenses: [{ license: { id: license } }],
    purl,
  };
}

function denortComponent({ target, version, sha256, origin }: EmbeddedDenort) {
  return {
    type: "platform",
    "bom-ref": `denort-${target}`,
    name: "denort",
    ...version === undefined ? {} : { version, purl: `pkg:github/denoland/deno@v${version}` },
    description: `The Deno runtime that an executable for ${target} embeds: ${origin}`,
    scope: "required",
    ...sha256 === undefined ? {} : { hashes: [{ alg: "SHA-256", content: sha256 }] },
    licenses: [{ license: { id: "MIT" } }],
    properties: [{ name: "target", value: target }],
  };
}

function uuidOf(hex: string): string {
  const bits = hex.padEnd(32, "0");
  const [a, b, c, d, e] = [
    bits.slice(0, 8),
    bits.slice(8, 12),
    `8${bits.slice(13, 16)}`,
    `8${bits.slice(17, 20)}`,
    bits.slice(20, 32),
  ];
  return [a, b, c, d, e].join("-");
}
