/**
 * Certificates for tests, made by openssl.
 *
 * @module
 */

import { canRun, ScratchFolder } from "./processes.ts";

/** Why tests of TLS cannot run here, if they cannot. */
export const noOpenssl: string | undefined = await canRun("openssl", "version")
  ? undefined
  : "it needs openssl";

const keyOfP256 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/** What a certificate is for. */
export interface CertificateOptions {
  /** The name of the server. */
  readonly name?: string;
  /** The kind of the key, as openssl has it: of the curve P-256 if left out. */
  readonly key?: readonly string[];
  /** From when and to when it is valid, as openssl has it: `20200101000000Z`. */
  readonly valid?: readonly [from: string, to: string];
}

/** An authority, and the certificates that it gives, in a folder that goes with its scope. */
export class Authority implements AsyncDisposable {
  readonly #folder: ScratchFolder;
  #count = 0;

  private constructor(folder: ScratchFolder) {
    this.#folder = folder;
  }

  /** Founds one. */
  static async found(): Promise<Authority> {
    const authority = new Authority(new ScratchFolder("authority"));
    await authority.#openssl(
      ...["req", "-x509", "-newkey", ...keyOfP256, "-nodes"],
      ...["-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Test authority"],
    );
    return authority;
  }

  /** The file of its certificate. */
  get file(): string {
    return `${this.#folder.path}/ca.pem`;
  }

  /** Makes a key and a certificate for it; returns their files. */
  async give(
    { name = "localhost", valid, key = keyOfP256 }: CertificateOptions = {},
  ): Promise<{ cert: string; key: string }> {
    const file = `${++this.#count}`;
    const address = name === "localhost" ? ",IP:127.0.0.1" : "";
    await this.#openssl(
      ...["req", "-newkey", ...key, "-nodes"],
      ...["-keyout", `${file}.key`, "-out", `${file}.csr`, "-subj", `/CN=${name}`],
    );
    await this.#folder.write(
      "ca.cnf",
      `[ca]\ndefault_ca=a\n[a]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n` +
        `default_md=sha256\npolicy=p\nunique_subject=no\nx509_extensions=x\n` +
        `[p]\ncommonName=supplied\n` +
        `[x]\nbasicConstraints=CA:FALSE\nsubjectAltName=DNS:${name}${address}\n`,
    );
    await this.#folder.write("index", "");
    await this.#folder.write("serial", "01\n");
    const dates = valid === undefined
      ? ["-days", "30"]
      : ["-startdate", valid[0], "-enddate", valid[1]];
    await this.#openssl(
      ...["ca", "-config", "ca.cnf", "-batch", "-notext", "-cert", "ca.pem", "-keyfile", "ca.key"],
      ...["-in", `${file}.csr`, "-out", `${file}.pem`, ...dates],
    );
    await Deno.chmod(`${this.#folder.path}/${file}.key`, 0o600);
    return { cert: `${this.#folder.path}/${file}.pem`, key: `${this.#folder.path}/${file}.key` };
  }

  async #openssl(...args: string[]): Promise<void> {
    const command = new Deno.Command("openssl", { args, cwd: this.#folder.path, stdin: "null" });
    const { success, stderr } = await command.output();
    if (!success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }
}
