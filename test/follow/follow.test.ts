import { describe, expect, test } from "vitest";
import { native } from "../node/vfs-fixture.ts";
import { createFollower, expectSame, fill, INVARIANT, startWriter, transfer } from "./fixture.ts";

describe("all that a writer does arrives, page for page", () => {
  test.each([
    [512, "auto_vacuum=0"],
    [4096, "auto_vacuum=0"],
    [4096, "auto_vacuum=1"],
    [4096, "auto_vacuum=2"],
    [65536, "auto_vacuum=1"],
  ])("pages of %i bytes, %s", async (pageSize, mode) => {
    const writer = await startWriter(pageSize, `PRAGMA ${mode}`);
    const follower = await createFollower(writer.store);
    await follower.start();
    expectSame(follower.path, writer.db);
    const reader = follower.openDatabase();
    const steps = [
      transfer(1),
      fill(800),
      "CREATE TABLE u(x); INSERT INTO u VALUES('new schema')",
      "DELETE FROM t WHERE rowid % 3 != 0",
      "PRAGMA incremental_vacuum(20)",
      "VACUUM",
      "DROP TABLE u; DELETE FROM t",
      "VACUUM",
      `${fill(300)}; ALTER TABLE a ADD COLUMN more DEFAULT 1`,
      "INSERT INTO a(n) VALUES(2); INSERT INTO b VALUES(2)",
    ];
    expect(native(follower.path, "PRAGMA page_size")).toBe(`${pageSize}`);
    for (const sql of steps) {
      await writer.commit(sql);
      await follower.poll();
      expect(follower.position).toEqual({
        txid: writer.replicator.status().uploaded,
        id: expect.any(String),
      });
      expectSame(follower.path, writer.db);
      expect(native(follower.path, `PRAGMA integrity_check; ${INVARIANT}`)).toBe("ok\n1");
      expect(reader.selectValue("PRAGMA integrity_check")).toBe("ok");
      expect(reader.selectValue("SELECT count(*) FROM t")).toBe(
        writer.db.selectValue("SELECT count(*) FROM t"),
      );
    }
    reader.close();
  });
});
