// node node-sqlite.mjs <database>: what node:sqlite reads in it, as JSON. Node 22.5 and newer.
import { DatabaseSync } from "node:sqlite";
import { contentOf } from "./content.mjs";

const db = new DatabaseSync(process.argv[2]);
const all = (sql) =>
  db
    .prepare(sql)
    .all()
    .map((row) => Object.values(row));
console.log(JSON.stringify(contentOf(all)));
db.exec("CREATE TABLE written_by_node_sqlite(a); INSERT INTO written_by_node_sqlite VALUES(1)");
db.close();
