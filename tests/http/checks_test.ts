import { assertEquals } from "@std/assert";
import { checkRequest } from "../../lib/http/checks.ts";
import { HttpError, type HttpRequest } from "../../lib/http/message.ts";

/** A request as text: `GET /path`, then its headers. */
function request(line: string, headers: Readonly<Record<string, string>>): HttpRequest {
  const [method = "", target = ""] = line.split(/ (.*)/s);
  return {
    method,
    target,
    peer: "127.0.0.1",
    hostCount: headers["host"] === undefined ? 0 : 1,
    header: (name) => headers[name],
    readBody: () => Promise.resolve(""),
    letOthersIn: () => Promise.resolve(),
  };
}

const local = { host: "127.0.0.1:8080" };
const post = { ...local, "content-type": "application/json" };
const link = { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" };

/** The request, its headers, and what is answered: the path, or the status and the error. */
const cases: readonly (readonly [string, Readonly<Record<string, string>>, string])[] = [
  ["GET /", local, "GET /"],
  ["HEAD /metrics", local, "GET /metrics"],
  ["GET /api/tasks?name=a", { host: "localhost" }, "GET /api/tasks name=a"],
  ["GET /", { host: "queue.example:80" }, "GET /"],
  ["GET /", { host: "QUEUE.Example" }, "GET /"],
  ["POST /api/kick", post, "POST /api/kick"],
  [
    "POST /api/kick",
    { ...post, "content-type": "application/json; charset=utf-8" },
    "POST /api/kick",
  ],
  ["PUT /", local, "405 use GET, HEAD or POST"],
  ["OPTIONS /", local, "405 use GET, HEAD or POST"],
  ["GET /", {}, "400 the request must have one Host, a name or an IPv4 address"],
  ["GET /", { host: "a b" }, "400 the request must have one Host, a name or an IPv4 address"],
  ["GET /", { host: "[::1]:80" }, "400 the request must have one Host, a name or an IPv4 address"],
  ["GET /", { host: "" }, "400 the request must have one Host, a name or an IPv4 address"],
  [
    "GET /",
    { host: "evil.example:8080" },
    '421 this server is not called "evil.example": name it with --http-host',
  ],
  [
    "GET /",
    { host: "127.0.0.1.evil.example" },
    '421 this server is not called "127.0.0.1.evil.example": name it with --http-host',
  ],
  [
    "GET /",
    { host: "1.2.3.256" },
    '421 this server is not called "1.2.3.256": name it with --http-host',
  ],
  ["GET http://evil.example/", local, "400 the request must name a path"],
  ["GET *", local, "400 the request must name a path"],
  [`GET /${"x".repeat(2048)}`, local, "414 the request names a path of over 2048 characters"],
  ["GET /", { ...local, "sec-fetch-site": "none" }, "GET /"],
  ["GET /api/overview", { ...local, "sec-fetch-site": "same-origin" }, "GET /api/overview"],
  ["GET /", { ...local, ...link }, "GET /"],
  ["GET /", { ...local, ...link, "sec-fetch-dest": "iframe" }, "403 request from another site"],
  ["GET /", { ...local, ...link, "sec-fetch-dest": "object" }, "403 request from another site"],
  ["GET /", { ...local, ...link, "sec-fetch-dest": "document" }, "GET /"],
  ["GET /metrics", { ...local, ...link }, "403 request from another site"],
  // Another port of 127.0.0.1 is the same site.
  [
    "GET /api/overview",
    { ...local, "sec-fetch-site": "same-site" },
    "403 request from another site",
  ],
  ["POST /api/kick", { ...post, "sec-fetch-site": "same-site" }, "403 request from another site"],
  ["GET /api/overview", { ...local, origin: "http://127.0.0.1:8080" }, "GET /api/overview"],
  ["POST /api/kick", { ...post, origin: "http://127.0.0.1:8081" }, "403 request from another site"],
  ["POST /api/kick", { ...post, origin: "null" }, "403 request from another site"],
  ["POST /api/kick", local, "415 send JSON: Content-Type: application/json"],
  [
    "POST /api/kick",
    { ...post, "content-type": "text/plain" },
    "415 send JSON: Content-Type: application/json",
  ],
];

for (const [line, headers, expected] of cases) {
  const shown = line.length > 60 ? `${line.slice(0, 20)}...` : line;
  Deno.test({
    name: `checkRequest() answers ${shown} ${JSON.stringify(headers)}: ${expected}`,
    permissions: "none",
    fn() {
      let answer: string;
      try {
        const checked = checkRequest(request(line, headers), { hosts: ["queue.example"] });
        answer = `${checked.method} ${checked.path} ${checked.parameters}`.trimEnd();
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        answer = `${error.status} ${error.message}`;
      }
      assertEquals(answer, expected);
    },
  });
}
