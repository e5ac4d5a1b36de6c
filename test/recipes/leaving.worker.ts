// The life of a database in a browser, to its end. Answers what plain SQLite finds.
import { MemoryStore, SqliteReplicator } from "../../web/index.ts";
import { leave } from "./leaving.ts";

async function live() {
  const replicator = await SqliteReplicator.create({ dbPath: "/app.db", replica: new MemoryStore() });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES('hello')");
  db.close();
  const plain = await leave(replicator);
  plain.exec("INSERT INTO t VALUES('and on')");
  const found = {
    rows: plain.selectValues("SELECT a FROM t"),
    mode: plain.selectValue("PRAGMA journal_mode"),
    integrity: plain.selectValue("PRAGMA integrity_check"),
  };
  plain.close();
  return found;
}

live().then(postMessage, (error) => postMessage(String(error)));
