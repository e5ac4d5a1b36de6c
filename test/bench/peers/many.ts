import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { SqliteReplicator } from "../../../node/index.ts";
import { peakRss, StallProbe } from "../probe.ts";
import { nativeSql, type Sql, wasmSql } from "./sql.ts";

export interface ManyResult {
  readonly commits: number;
  /** From a commit to its upload: the longest of all databases. 0 where nobody says. */
  readonly longestLagMs: number;
  readonly cpuMs: number;
  readonly rssBefore: number;
  readonly peakRss: number;
  readonly longestStallMs: number;
}

interface Written {
  readonly sql: Sql;
  /** Called after each commit. */
  committed(): void;
}

/** `count` databases in one process, each with commits at a steady pace. */
export async function measureMany(
  writer: "sluice" | "native",
  folder: string,
  count: number,
  perSecond: number,
  seconds: number,
): Promise<ManyResult> {
  const rssBefore = process.memoryUsage.rss();
  let longestLagMs = 0;
  const replicators: SqliteReplicator[] = [];
  const open = async (i: number): Promise<Written> => {
    const dbPath = join(folder, `${i}.db`);
    if (writer === "native") return { sql: nativeSql(dbPath), committed: () => {} };
    const replica = pathToFileURL(join(folder, `${i}.replica`)).href;
    const replicator = await SqliteReplicator.create({ dbPath, replica });
    await replicator.start();
    await replicator.snapshot();
    replicators.push(replicator);
    const waiting: { txid: number; at: number }[] = [];
    replicator.addEventListener("upload", ({ detail }) => {
      while (waiting[0] !== undefined && waiting[0].txid <= detail.position.txid)
        longestLagMs = Math.max(longestLagMs, performance.now() - waiting.shift()!.at);
    });
    const committed = () => waiting.push({ txid: replicator.status().captured, at: performance.now() });
    return { sql: wasmSql(replicator.openDatabase()), committed };
  };
  const databases: Written[] = [];
  for (let i = 0; i < count; i++) databases.push(await open(i));
  const inserts = databases.map(({ sql }) => sql.prepare("INSERT INTO counter VALUES(?)"));
  const stalls = new StallProbe();
  const cpuBefore = process.cpuUsage();
  const commits = await commitSteadily(count * perSecond, seconds, (i) => {
    inserts[i % count]!(i);
    databases[i % count]!.committed();
  });
  for (const replicator of replicators) await replicator.waitUntilUploaded();
  const { user, system } = process.cpuUsage(cpuBefore);
  const { longestMs } = stalls.end();
  for (const { sql } of databases) sql.close();
  for (const replicator of replicators) await replicator.stop();
  return {
    commits,
    longestLagMs,
    cpuMs: (user + system) / 1000,
    rssBefore,
    peakRss: peakRss(),
    longestStallMs: longestMs,
  };
}

async function commitSteadily(
  perSecond: number,
  seconds: number,
  commit: (i: number) => void,
): Promise<number> {
  const began = performance.now();
  let done = 0;
  while (done < perSecond * seconds) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    const owed = Math.min(perSecond * seconds, ((performance.now() - began) / 1000) * perSecond);
    for (; done < owed; done++) commit(done);
  }
  return done;
}
