import { BrokenReplicaError } from "../../src/errors.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import { plan } from "../../src/plan.ts";
import { findClaim, type Listing, listReplica, openStored } from "../../src/replica.ts";
import type { ObjectInfo, ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../compression.ts";
import { byteSize } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { openReplica } from "./replica-word.ts";

export const ls: Command = {
  usage: "ls <replica>",
  help: `Shows what a replica holds: who began it, its snapshots and segments, and the newest state. It reads the listing and
the newest object; what lies between is checked by restore, and one object at a time by inspect.

  sluice ls s3://my-bucket/backups/app/
  sluice ls --json file:///mnt/backup/app | jq -r '.snapshots[].key'

JSON: { claim: { version, lineage, writer, created } | null, snapshots: [{ key, txid, size, lastModified }],
segments: [{ key, level, minTxid, maxTxid, size, lastModified }], newest: { txid, id, time } | null,
problem: string | null }. Times are ISO 8601 (claim.created: milliseconds since 1970), sizes bytes; maxTxid is null at
level 0, where only the object tells. Exit code 1 with a problem, 3 without a replica.`,
  options: {},
  words: [1, 1],
  async run([replica], { json }) {
    const store = await openReplica(replica!);
    const [claim, listing] = [await findClaim(store), await listReplica(store)];
    const { newest, problem } = await look(store, listing);
    const time = newest && new Date(newest.header.commits.last).toISOString();
    const code = problem !== null ? EXIT_FAILED : claim === null ? EXIT_NOTHING : EXIT_OK;
    if (json) {
      const snapshots = listing.snapshots.map((info) => ({ txid: info.txid, ...described(info) }));
      const segments = listing.segments.map((info) => {
        const { level, minTxid, maxTxid } = info;
        return { level, minTxid, maxTxid, ...described(info) };
      });
      const state = newest && { ...newest.to, time };
      console.log(JSON.stringify({ claim, snapshots, segments, newest: state, problem }));
      return code;
    }
    if (claim === null) {
      console.log(`There is no replica at ${store.url}.`);
      return code;
    }
    const created = new Date(claim.created).toISOString();
    console.log(`Begun     ${created} by writer ${claim.writer}, history ${claim.lineage}`);
    printObjects(listing);
    if (newest !== null) console.log(`Newest    transaction ${newest.to.txid}, committed ${time}`);
    else if (problem === null) console.log("Newest    none yet: the first snapshot is not complete");
    if (problem !== null) console.error(`sluice: ${problem}. A restore would refuse this replica.`);
    return code;
  },
};

function printObjects({ snapshots, segments }: Listing): void {
  for (const { key, txid, size } of snapshots)
    console.log(`Snapshot  transaction ${txid}, ${byteSize(size)}, ${key}`);
  for (let level = 0; level <= 3; level++) {
    const [first, ...rest] = segments.filter((segment) => segment.level === level);
    if (first === undefined) continue;
    const size = rest.reduce((sum, segment) => sum + segment.size, first.size);
    const count = rest.length === 0 ? "1 segment" : `${rest.length + 1} segments`;
    console.log(`Level ${level}   ${count} from transaction ${first.minTxid}, ${byteSize(size)}`);
  }
}

/** The newest state and, where the keys show that it cannot be reached, why. */
async function look(
  store: ObjectStore,
  listing: Listing,
): Promise<{ newest: ObjectReader | null; problem: string | null }> {
  try {
    return { newest: await newestState(store, listing), problem: null };
  } catch (error) {
    if (error instanceof BrokenReplicaError) return { newest: null, problem: error.message };
    throw error;
  }
}

/** The last object that a restore would use, opened. Throws BrokenReplicaError where the keys show a gap. */
export async function newestState(store: ObjectStore, listing: Listing): Promise<ObjectReader | null> {
  if (listing.snapshots.length === 0) return null;
  const chosen = plan(listing, store.url);
  return chosen && openStored(store, chosen.segments.at(-1) ?? chosen.snapshot, await loadCodecs());
}

function described({ key, size, lastModified }: ObjectInfo) {
  return { key, size, lastModified: new Date(lastModified).toISOString() };
}
