/** What bad-input.test.ts runs in other processes. Each prints a line when it stands where it should. */
import { dirname } from "node:path";
import { SqliteReplicator } from "../../node/index.ts";

function create(dbPath: string): Promise<SqliteReplicator> {
  return SqliteReplicator.create({
    dbPath,
    replica: `file://${dirname(dbPath)}/replica`,
    syncIntervalMs: 100,
    uploadIntervalMs: 100,
  });
}

/** Holds the database until it is told to stop. */
async function hold(dbPath: string): Promise<void> {
  const replicator = await create(dbPath);
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  process.stdin.once("data", async () => {
    db.close();
    await replicator.stop();
    process.exit(0);
  });
  process.stdout.write("ready\n");
}

/** Writes, and then just has nothing more to do. */
async function leave(dbPath: string): Promise<void> {
  const replicator = await create(dbPath);
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a)");
  for (let i = 0; i < 100; i++) db.exec("INSERT INTO t VALUES(randomblob(100))");
  process.stdout.write("ready\n");
}

const [, , what, path] = process.argv;
await (what === "hold" ? hold : leave)(path!);
