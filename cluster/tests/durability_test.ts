import { assertEquals } from "@std/assert";
import { describeDurability, type Durability } from "../durability.ts";

const safe: Durability = {
  ...{ standbyNames: "ANY 1 (n1, n2, n3)", fsync: true },
  ...{ clusterName: "n1", following: 2 },
};

for (
  const [settings, said] of [
    [{}, "engine: 3 nodes, OK = on 2 of 3 disks"],
    [{ standbyNames: "ANY 1 (n2,n3)" }, "engine: 3 nodes, OK = on 2 of 3 disks"],
    [{ standbyNames: 'FIRST 2 ("n2", n3)' }, "engine: 3 nodes, OK = on 3 of 3 disks"],
    [{ standbyNames: "n2, n3" }, "engine: 3 nodes, OK = on 2 of 3 disks"],
    [{ standbyNames: "1 (n2)" }, "engine: 2 nodes, OK = on 2 of 2 disks"],
    [{ standbyNames: "ANY 1 (*)", following: 4 }, "engine: 5 nodes, OK = on 2 of 5 disks"],
    [{ clusterName: "" }, "engine: 3 nodes, OK = on 2 of 3 disks"],
    [
      { standbyNames: "" },
      "WARNING: engine: synchronous_standby_names is empty: OK = on 1 disk, " +
      "and the end of the primary loses confirmed tasks",
    ],
    [{ fsync: false }, "WARNING: engine: fsync is off: a power cut loses confirmed tasks"],
  ] as const
) {
  Deno.test(`of ${JSON.stringify(settings)} it is said: ${said}`, () => {
    assertEquals(describeDurability({ ...safe, ...settings }), said);
  });
}
