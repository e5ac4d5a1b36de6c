import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { MemoryStore } from "../../node/index.ts";
import { native } from "../node/vfs-fixture.ts";
import { createTable, insert, rows, useReplicators } from "./fixture.ts";

const { folder, create } = useReplicators();

const PAGE = 4096;

/**
 * A database whose file has more pages than page 1 says: a crash came before it was cut off. SQLite counts those of page 1, and the
 * WAL all of them, until what is allocated has used them up.
 */
test.each([
  ["runs on", false],
  ["starts again", true],
])(
  "segments hold what no snapshot has of a file that was longer than its database, also where it %s",
  async (_, again) => {
    const dbPath = join(folder(), "app.db");
    native(
      dbPath,
      `PRAGMA page_size=${PAGE}; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE TABLE free(x)`,
    );
    native(dbPath, "INSERT INTO free VALUES(randomblob(20000)); DELETE FROM free");
    appendFileSync(dbPath, new Uint8Array(4 * PAGE).fill(0xff));
    const store = new MemoryStore();
    let replicator = await create(dbPath, store);
    await replicator.start();
    let db = replicator.openDatabase();
    createTable(db);
    insert(db, "before the snapshot");
    await replicator.snapshot();
    if (again) {
      db.close();
      await replicator.stop();
      replicator = await create(dbPath, store);
      await replicator.start();
      db = replicator.openDatabase();
    }
    insert(db, "behind the snapshot");
    await replicator.flush();
    const copy = await create(join(folder(), "copy.db"), store);
    expect(await copy.restore()).toMatchObject({ restored: true });
    await copy.start();
    const restored = copy.openDatabase();
    expect(rows(restored)).toEqual(rows(db));
    db.close();
    await replicator.stop();
    // What was restored is as long: so it is for who goes on from there.
    await copy.snapshot();
    insert(restored, "behind the next one");
    await copy.flush();
    const last = await create(join(folder(), "last.db"), store);
    expect(await last.restore()).toMatchObject({ restored: true });
    restored.close();
  },
);
