import type { BindingSpec } from "@sqlite.org/sqlite-wasm";
import { SqliteReplicator } from "../../../web/index.ts";

export type Statement = readonly [sql: string, bind?: BindingSpec];
export type Question = { readonly id: number; readonly statements: readonly Statement[] };
export type Answer = { readonly id: number; readonly rows?: unknown[][][]; readonly error?: Failure };
export type Failure = { readonly message: string; readonly code: string | number | undefined };

const database = open();
database.catch(() => undefined); // each call is told

async function open() {
  const replicator = await SqliteReplicator.create({
    dbPath: "/app.db",
    replica: new URL("/replica/", location.href).href,
    lock: { waitMs: 60_000 }, // the tab before this one may still be ending
  });
  replicator.addEventListener("fenced", ({ detail }) => console.error(detail));
  await replicator.start();
  return replicator.openDatabase();
}

/** The statements of one call are one transaction: all of them, or none. */
async function answer({ id, statements }: Question): Promise<Answer> {
  try {
    const db = await database;
    const run = ([sql, bind = []]: Statement) =>
      db.exec({ sql, bind, rowMode: "array", returnValue: "resultRows" });
    return { id, rows: db.transaction(() => statements.map(run)) };
  } catch (thrown) {
    const { message, code, resultCode } = thrown as Error & { code?: string; resultCode?: number };
    return { id, error: { message, code: code ?? resultCode } };
  }
}

/** Each caller comes with a port of its own. The replicator's messages from `forwardLifecycle` have none. */
addEventListener("message", ({ ports: [port] }) => {
  if (port === undefined) return;
  port.onmessage = async ({ data }: MessageEvent<Question>) => port.postMessage(await answer(data));
  port.postMessage("open");
});
