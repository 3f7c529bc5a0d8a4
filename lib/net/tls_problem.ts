/**
 * What a failed handshake of TLS means to a user, and what to do about it.
 *
 * @module
 */

/** What is wrong, by what the TLS library says. */
const tlsProblems: readonly (readonly [said: RegExp, problem: string])[] = [
  [/InvalidContentType|corrupt message/, "what listens there does not speak TLS: leave out --tls"],
  [/certificate expired|\bExpired/, "its certificate has expired"],
  [/not valid yet|NotValidYet/, "its certificate is not valid yet: check the clocks"],
  [
    /not valid for name|NotValidForName/,
    "its certificate is for another name: connect to the name that it is for",
  ],
  [
    /UnknownIssuer|CaUsedAsEndEntity/,
    "its certificate is from no authority that is trusted here: name one by --tls-ca",
  ],
  [/UnsupportedCertVersion|BadEncoding/, "its certificate cannot be read"],
];

/**
 * Names what is wrong with a server's certificate, or that it does not speak TLS.
 *
 * @param said the message of Deno's error.
 * @returns undefined if it is none of these, so that a later attempt may succeed.
 */
export function tlsProblemIn(said: string): string | undefined {
  return tlsProblems.find(([expression]) => expression.test(said))?.[1];
}
