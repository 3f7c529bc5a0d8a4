import { assertEquals } from "@std/assert";
import { Sightings } from "../sightings.ts";

Deno.test("a front has died if it makes no turn between four looks in a row", () => {
  const sightings = new Sightings();
  const look = (...turns: number[]) =>
    sightings.look(turns.map((turn, i) => ({ front: i + 1, turn }))).map(({ front }) => front);
  assertEquals(look(7, 0, 3), []);
  assertEquals(look(7, 0, 4), []);
  assertEquals(look(7, 0, 4), []);
  assertEquals(look(7, 1, 4), [1]);
  assertEquals(look(7, 1, 4), [1, 3]);
  assertEquals(look(8, 1, 4), [3]);
});

Deno.test("after an outage fronts are looked at anew", () => {
  const sightings = new Sightings();
  const look = () => sightings.look([{ front: 1, turn: 5 }]).length;
  assertEquals([look(), look(), look()], [0, 0, 0]);
  sightings.forget();
  assertEquals([look(), look(), look(), look()], [0, 0, 0, 1]);
});
