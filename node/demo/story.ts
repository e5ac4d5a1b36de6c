import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { SqliteReplicator } from "../index.ts";
import { byteSize, ProgressLine, seconds } from "../progress.ts";
import { type Inspection, inspect } from "./compare.ts";
import type { Outage } from "./writer.ts";
import { runWriterProcess, type WriterOutcome } from "./writer-process.ts";

/** Milliseconds of mixed work with a network, without, and after the restart. */
const WORK_MS = 2000;
const OFFLINE_MS = 4000;
const WORK_AGAIN_MS = 2000;

/** A row of the summary: what was seen, and whether it is as promised. */
export interface Finding {
  readonly what: string;
  readonly seen: string;
  readonly good: boolean;
}

export interface StoryOptions {
  /** Where the databases go. */
  readonly folder: string;
  /** URL. */
  readonly replica: string;
  /** What the writing process runs. */
  readonly writerScript: string;
}

/**
 * An application writes; the network is cut for a while; it is killed in the middle of a transaction. Then both ways out:
 * the machine is lost and only the replica is left; or the application starts again on its files, goes on, and is at last
 * restored into a new folder.
 */
export async function tellStory({ folder, replica, writerScript }: StoryOptions): Promise<Finding[]> {
  const begin = Date.now();
  const dbPath = join(folder, "app.db");
  const [first, again] = [
    { dbPath, replica, workMs: WORK_MS, offlineMs: OFFLINE_MS, bulk: true },
    { dbPath, replica, workMs: WORK_AGAIN_MS, offlineMs: 0, bulk: false },
  ];
  const killed = await runWriterProcess(writerScript, first);
  const lost = await restoreInto(folder, "machine-lost", replica);
  const ended = await runWriterProcess(writerScript, again);
  const copy = await restoreInto(folder, "copy", replica);
  const source = await inspect(dbPath);
  return [
    findingOfOutage(killed.outage),
    ...findingsOfCrash(killed, lost, ended),
    ...findingsOfCopy(source, copy),
    { what: "time", seen: seconds(Date.now() - begin), good: true },
  ];
}

async function restoreInto(folder: string, name: string, replica: string): Promise<Inspection> {
  mkdirSync(join(folder, name));
  const dbPath = join(folder, name, "app.db");
  const line = new ProgressLine("Restore");
  const begin = Date.now();
  const replicator = await SqliteReplicator.create({ dbPath, replica });
  try {
    const outcome = await replicator.restore({
      onProgress: ({ objects, totalObjects, bytes, totalBytes }) =>
        line.update(bytes / totalBytes, `${objects} of ${totalObjects} objects, ${byteSize(bytes)}`),
    });
    if (!outcome.restored) throw new Error(`nothing was restored: ${outcome.reason}`);
    line.done(`${name}: transaction ${outcome.position.txid} in ${seconds(Date.now() - begin)}`);
  } finally {
    await replicator.stop();
  }
  return inspect(dbPath);
}

function findingOfOutage(outage: Outage | null): Finding {
  const what = "network cut";
  if (outage === null) return { what, seen: "it was not", good: false };
  const { ms, before, after, drainMs } = outage;
  const drained = drainMs === null ? "not uploaded in time" : `uploaded ${seconds(drainMs)} after`;
  return {
    what,
    seen:
      `for ${seconds(ms)}: ${after.captured - before.captured} commits meanwhile, ` +
      `${after.segments} segments (${byteSize(after.bytes)}) waiting, ${drained}`,
    good: after.captured > before.captured && after.cached > after.uploaded && drainMs !== null,
  };
}

function findingsOfCrash(killed: WriterOutcome, lost: Inspection, ended: WriterOutcome): Finding[] {
  return [
    {
      what: "killed by SIGKILL",
      seen: `writing ${killed.committed + 1}; ${killed.committed} committed, ${killed.uploaded} uploaded`,
      good: killed.committed > 0,
    },
    {
      what: "machine lost: restored from the replica",
      seen: `1 to ${lost.last}, integrity ${lost.integrity}`,
      good: lost.last !== null && lost.last >= killed.uploaded && lost.integrity === "ok",
    },
    {
      what: "started again on the same files",
      seen: `1 to ${ended.found} there, ${ended.committed} at the end`,
      good: ended.found >= killed.committed && ended.committed > ended.found,
    },
  ];
}

function findingsOfCopy(source: Inspection, copy: Inspection): Finding[] {
  const same = (a: string, b: string) => (a === b ? `equal, ${a.slice(0, 16)}…` : `${a} but ${b}`);
  return [
    {
      what: "restored into a new folder",
      seen: `1 to ${copy.last}; ${byteSize(copy.size)}, ${copy.rows} rows, ${copy.tables} tables`,
      good: copy.last !== null && copy.last === source.last && copy.size > 0,
    },
    {
      what: "SHA-256 over all pages",
      seen: same(source.pagesHash, copy.pagesHash),
      good: source.pagesHash === copy.pagesHash,
    },
    {
      what: "SHA-256 over all rows",
      seen: same(source.rowsHash, copy.rowsHash),
      good: source.rowsHash === copy.rowsHash,
    },
    { what: "PRAGMA integrity_check", seen: copy.integrity, good: copy.integrity === "ok" },
  ];
}
