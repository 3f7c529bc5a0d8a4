/**
 * Where the schema is loaded.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { testInOneNode } from "./nodes.ts";

const schema = await Deno.readTextFile(new URL("../schema.sql", import.meta.url));

testInOneNode("The schema", [
  ["is not loaded into a database that has not any text", async ({ nodes }) => {
    for (const encoding of ["sql_ascii", "latin1"]) {
      await nodes.primary.query(
        `CREATE DATABASE ${encoding} ENCODING '${encoding}' LOCALE 'C' TEMPLATE template0`,
      );
      const outcome = await nodes.primary.query(schema, encoding).then(() => "loaded", String);
      assertMatch(outcome, /must have the encoding UTF8, and has/);
    }
  }],
  ["is not loaded twice, and the second time changes nothing", async ({ nodes, database }) => {
    const front = "SELECT queue.open_front()";
    assertEquals(await nodes.primary.query(front, database), [{ open_front: 1 }]);
    const outcome = await nodes.primary.query(schema, database).then(() => "loaded", String);
    assertMatch(outcome, /schema "queue" already exists/);
    assertEquals(await nodes.primary.query(front, database), [{ open_front: 2 }]);
  }],
]);
