// The npm edition of Deno std ships no types. These are the symbols used here, as std declares
// them, so that nothing is `any`.

declare module "@std/streams/text-line-stream" {
  export class TextLineStream extends TransformStream<string, string> {
    constructor(options?: { allowCR?: boolean });
  }
}

declare module "@std/cli/parse-args" {
  export function parseArgs(args: string[], options: {
    boolean?: readonly string[];
    string?: readonly string[];
    alias?: Readonly<Record<string, string>>;
    collect?: readonly string[];
    "--"?: boolean;
    stopEarly?: boolean;
    unknown?: (arg: string, key?: string, value?: unknown) => boolean | void;
  }): { _: (string | number)[]; [flag: string]: unknown };
}

declare module "@std/text/levenshtein-distance" {
  export function levenshteinDistance(str1: string, str2: string): number;
}

declare module "@std/assert" {
  export function assert(condition: unknown, message?: string): asserts condition;
  export function assertEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertNotEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): void;
  export function assertLess<T>(actual: T, expected: T, message?: string): void;
  export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void;
  export function assertGreater<T>(actual: T, expected: T, message?: string): void;
  export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void;
  export function assertMatch(actual: string, expected: RegExp, message?: string): void;
  export function assertNotMatch(actual: string, expected: RegExp, message?: string): void;
  export function assertStringIncludes(actual: string, expected: string, message?: string): void;
  export function assertThrows<E extends Error = Error>(
    run: () => unknown,
    errorClass?: abstract new (...args: never[]) => E,
    messageIncludes?: string,
  ): E;
  export function assertRejects<E extends Error = Error>(
    run: () => PromiseLike<unknown>,
    errorClass?: abstract new (...args: never[]) => E,
    messageIncludes?: string,
  ): Promise<E>;
}
