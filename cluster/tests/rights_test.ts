/**
 * What a front's user may do in the engine: call the queue's functions, and nothing else.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { type Step, testInOneNode } from "./nodes.ts";

/** A view whose rows come from a function that gives away the queue. */
const trap = `
  CREATE FUNCTION pg_temp.seize() RETURNS smallint LANGUAGE plpgsql AS $$ BEGIN
    GRANT ALL ON ALL TABLES IN SCHEMA queue TO front;
    RETURN 1;
  END $$;
  CREATE TEMPORARY VIEW trap AS SELECT pg_temp.seize() AS priority, bigint '1' AS arrival,
    smallint '0' AS ends, 'a' AS task_id, '1' AS duration, NULL AS payload;`;

testInOneNode("A front's user", [
  ["has rights on no table and no sequence of the queue", async ({ nodes, database }) => {
    const rows = await nodes.primary.query(
      "SELECT relname FROM pg_class WHERE relnamespace = 'queue'::regnamespace AND CASE relkind " +
        "WHEN 'S' THEN has_sequence_privilege('front', oid, 'USAGE, SELECT, UPDATE') " +
        "WHEN 'r' THEN has_table_privilege('front', oid, " +
        "'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END",
      database,
    );
    assertEquals(rows, []);
  }],
  ["may call the functions that a front needs, and others none", async ({ nodes, database }) => {
    const mayCall = async (role: string) => {
      const rows = await nodes.primary.query(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'queue'::regnamespace " +
          `AND has_function_privilege('${role}', oid, 'EXECUTE') ORDER BY proname`,
        database,
      );
      return rows.map(({ proname }) => proname);
    };
    assertEquals(await mayCall("front"), [
      ...["close_front", "count", "find", "kick", "list", "look", "open_front", "others"],
      ...["remove", "sweep"],
      ...["take_away", "turn_1", "version"],
    ]);
    assertEquals(await mayCall("public"), []);
  }],
  ...[
    ["read a table", "SELECT FROM queue.ready"],
    ["change a table", "UPDATE queue.front SET turn = 0"],
    ["end another front", "SELECT queue.retire(1, 0)"],
    ["add a function", "CREATE FUNCTION queue.more() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
    ["list a view of their own", `${trap} SELECT queue.list('trap', '{1}', '', 0, 1)`],
    ["count a view of their own", `${trap} SELECT queue.count('trap', '{1}', '')`],
    ["clear a view of their own", `${trap} SELECT queue.take_away('trap', '1', NULL, 1, 1)`],
  ].map(([what = "", sql = ""]): Step => [`cannot ${what}`, async ({ nodes, database }) => {
    const outcome = await nodes.primary.query(sql, database, "front").then(() => "done", String);
    assertMatch(outcome, /permission denied|relation "queue.trap" does not exist|trap stay/);
    const [row] = await nodes.primary.query(
      "SELECT has_table_privilege('front', 'queue.ready', 'SELECT') AS has_rights",
      database,
    );
    assertEquals(row, { has_rights: false });
  }]),
]);
