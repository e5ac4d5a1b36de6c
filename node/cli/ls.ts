import type { ObjectReader } from "../../src/format/object-reader.ts";
import { plan } from "../../src/plan.ts";
import { type Listing, listReplica, openStored, readClaim } from "../../src/replica.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../compression.ts";
import { openStore } from "../open-store.ts";
import { megabytes } from "../progress.ts";
import type { Command } from "./run.ts";

export const ls: Command = {
  usage: "ls <replica>",
  help: `Shows what a replica holds: who began it, its snapshots and segments, and the newest state that restores.

  sluice ls s3://my-bucket/backups/app/

JSON: { claim, snapshots: [{ key, txid, size, lastModified }], segments: [{ key, level, minTxid, maxTxid, size,
lastModified }], newest: { txid, id, time } | null }. Times are ISO 8601, sizes bytes.`,
  options: {},
  words: [1, 1],
  async run([replica], { json }) {
    const store = openStore({ replica: replica! });
    const [claim, listing] = [await readClaim(store), await listReplica(store)];
    const newest = await newestState(store, listing);
    if (json) {
      const time = newest && new Date(newest.header.commits.last).toISOString();
      const snapshots = listing.snapshots.map(withoutAge);
      const segments = listing.segments.map(withoutAge);
      console.log(JSON.stringify({ claim, snapshots, segments, newest: newest && { ...newest.to, time } }));
      return 0;
    }
    if (claim === null) {
      console.log(`There is no replica at ${store.url}.`);
      return 0;
    }
    console.log(
      `Begun     ${new Date(claim.created).toISOString()} by writer ${claim.writer}, history ${claim.lineage}`,
    );
    for (const { key, txid, size } of listing.snapshots)
      console.log(`Snapshot  transaction ${txid}, ${megabytes(size)}, ${key}`);
    for (let level = 0; level <= 3; level++) {
      const segments = listing.segments.filter((segment) => segment.level === level);
      if (segments.length === 0) continue;
      const size = segments.reduce((sum, segment) => sum + segment.size, 0);
      console.log(
        `Level ${level}   ${segments.length} segments from transaction ${segments[0]!.minTxid}, ${megabytes(size)}`,
      );
    }
    if (newest === null) console.log("Restores  nothing yet: the first snapshot is not complete");
    else
      console.log(
        `Restores  to transaction ${newest.to.txid}, ${new Date(newest.header.commits.last).toISOString()}`,
      );
    return 0;
  },
};

/** The last object that a restore would use, opened. Throws BrokenReplicaError where there is a gap. */
export async function newestState(store: ObjectStore, listing: Listing): Promise<ObjectReader | null> {
  if (listing.snapshots.length === 0) return null;
  const chosen = plan(listing, store.url);
  return chosen && openStored(store, chosen.segments.at(-1) ?? chosen.snapshot, await loadCodecs());
}

function withoutAge<T extends { readonly age: number; readonly lastModified: number }>({
  age: _,
  ...info
}: T) {
  return { ...info, lastModified: new Date(info.lastModified).toISOString() };
}
