import { createHash } from "node:crypto";
import { createReadStream, statSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import init from "@sqlite.org/sqlite-wasm";
import { describe, expect, test } from "vitest";
import { installNodeVfs } from "../../node/vfs.ts";
import { useReplicators } from "../replicator/fixture.ts";

/** Part of `npm run soak`: gigabytes and minutes. */
describe.skipIf(process.env.SLUICE_SOAK === undefined)(
  "a database over 1 GiB, beyond its lock-byte page",
  () => {
    const use = useReplicators();

    test.each([4096, 65536])(
      "pages of %i bytes: restored byte for byte",
      { timeout: 600_000 },
      async (pageSize) => {
        const folder = use.folder();
        const replica = pathToFileURL(join(folder, "replica")).href;
        const dbPath = join(folder, "large.db");
        await createEmpty(dbPath, pageSize);
        const replicator = await use.create(dbPath, replica, { stopTimeoutMs: 300_000 });
        await replicator.start();
        const db = replicator.openDatabase();
        const fill = (rows: number) =>
          db.exec({
            sql: `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
              INSERT INTO t(b) SELECT replace(hex(zeroblob(16000)), '00', hex(randomblob(32))) FROM n`,
            bind: [rows],
          });
        for (let gigabyte = 0; gigabyte < 1.1; gigabyte += 0.1) fill(103);
        await replicator.snapshot();
        // Segments across the lock-byte page too: rewritten, freed, grown again.
        db.exec("UPDATE t SET b = zeroblob(500000) WHERE a % 7 = 0; DELETE FROM t WHERE a % 11 = 0");
        fill(150);
        await replicator.waitUntilUploaded();
        expect(Number(db.selectValue("PRAGMA page_count")) * pageSize).toBeGreaterThan(0x40000000 + pageSize);
        db.close();
        expect(await replicator.stop()).toEqual({ uploaded: true });

        const copyPath = join(folder, "copy.db");
        const copy = await use.create(copyPath, replica);
        expect(await copy.restore({ integrityCheck: "full" })).toMatchObject({ restored: true });
        await copy.stop();
        expect(statSync(copyPath).size).toBe(statSync(dbPath).size);
        expect(await hashOf(copyPath)).toBe(await hashOf(dbPath));
      },
    );
  },
);

/** In rollback mode, as an application may have had it: `start` converts it. */
async function createEmpty(path: string, pageSize: number): Promise<void> {
  const sqlite3 = await init();
  const db = new sqlite3.oo1.DB({ filename: path, flags: "c", vfs: installNodeVfs(sqlite3) });
  db.exec(`PRAGMA page_size=${pageSize}; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)`);
  db.close();
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}
