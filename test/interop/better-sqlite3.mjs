// node better-sqlite3.mjs <database>: what better-sqlite3 reads in it, as JSON.
import Database from "better-sqlite3";
import { contentOf } from "./content.mjs";

const db = new Database(process.argv[2], { fileMustExist: true });
const all = (sql) => db.prepare(sql).raw().all();
console.log(JSON.stringify(contentOf(all)));
// It writes to it too.
db.exec("CREATE TABLE written_by_better_sqlite3(a); INSERT INTO written_by_better_sqlite3 VALUES(1)");
db.close();
