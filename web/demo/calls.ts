import { GatewayStore } from "../../src/gateway/index.ts";
import { type RestoreProgress, SqliteReplicator } from "../index.ts";
import type { Found, News, OpenOptions } from "./messages.ts";
import { Network } from "./network.ts";
import { Notebook } from "./notebook.ts";
import { place } from "./place.ts";
import { report } from "./report.ts";
import { sentence } from "./sentences.ts";

/** Quicker than the defaults for browsers, so that there is something to see. */
const INTERVALS = { syncIntervalMs: 300, uploadIntervalMs: 1000, stopTimeoutMs: 5000 };
const STATUS_MS = 500;
/** Commits between two reports. */
const BATCH = 20;

const network = new Network();
let replicator: SqliteReplicator | null = null;
let notebook: Notebook | null = null;
let closeDatabase = () => {};

/** What the page may ask for, by name. */
export const calls = {
  /** Takes the notes, from the replica where there are none here, and begins to replicate. */
  async open({ replica, waitMs, overwrite, offline, onUnknownLocal }: OpenOptions): Promise<void> {
    network.offline = offline;
    replicator = await SqliteReplicator.create({
      ...place,
      ...INTERVALS,
      replica: new GatewayStore(replica, { fetch: network.fetch }),
      onUnknownLocal,
      lock: { waitMs },
    });
    report(replicator, tell);
    const onProgress = (progress: RestoreProgress) => tell({ progress });
    if (overwrite) await replicator.restore({ overwrite, onProgress });
    await replicator.start({ onProgress });
    const db = replicator.openDatabase();
    closeDatabase = () => db.close();
    notebook = new Notebook(db);
    setInterval(tellStatus, STATUS_MS);
    tellStatus();
  },

  async add(text: string): Promise<void> {
    notes().add(text);
    tellRows();
  },

  async remove(id: number): Promise<void> {
    notes().remove(id);
    tellRows();
  },

  /** So many notes, each a commit of its own. */
  async write(count: number): Promise<void> {
    const first = notes().rows + 1;
    for (let written = 0; written < count; written++) {
      notes().add(sentence(first + written));
      if (written % BATCH !== BATCH - 1) continue;
      tellRows();
      await new Promise((resolve) => setTimeout(resolve));
    }
    tellRows();
  },

  search: async (text: string): Promise<Found> => notes().search(text),
  fingerprint: async (): Promise<string> => notes().fingerprint(),

  async setOffline(offline: boolean): Promise<void> {
    network.offline = offline;
    if (!offline) replicator?.wake();
  },

  /** Tries now what waits for its next try. */
  async upload(): Promise<void> {
    replicator?.wake();
    await replicator?.flush();
  },

  /** Answers whether all of it is in the replica. */
  async stop(): Promise<boolean> {
    closeDatabase();
    return (await replicator?.stop())?.uploaded ?? false;
  },
};
export type Calls = typeof calls;

function notes(): Notebook {
  if (notebook === null) throw new Error("The notes are not open.");
  return notebook;
}

function tell(news: News): void {
  postMessage(news);
}

function tellRows(): void {
  tell({ rows: notes().rows });
  tellStatus();
}

function tellStatus(): void {
  if (replicator !== null) tell({ status: replicator.status() });
}
