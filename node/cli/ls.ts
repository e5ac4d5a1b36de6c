import { BrokenReplicaError } from "../../src/errors.ts";
import { maxLevel } from "../../src/format/keys.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import type { Reached } from "../../src/history.ts";
import { lookAgain } from "../../src/look-again.ts";
import { plan } from "../../src/plan.ts";
import { findClaim, type Listing, listReplica, openStored, readStoredHeader } from "../../src/replica.ts";
import { restorableSpans } from "../../src/restorable.ts";
import type { ObjectInfo, ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../compression.ts";
import { byteSize } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_NOTHING, EXIT_OK } from "./command.ts";
import { openReplica } from "./replica-word.ts";

export const ls: Command = {
  usage: "ls <replica>",
  help: `Shows what a replica holds: who began it, its snapshots and segments, and which states can be restored. It reads the
listing and a few headers; what lies between is checked by restore, and one object at a time by inspect.

States are where segments end. Level 0 has a segment for each upload, levels 1 to 3 hold 16, 256 and 4096 of those: where level 0
is gone, only the states where a segment of level 1 ends can be restored, and so on.

  sluice ls s3://my-bucket/backups/app/
  sluice ls --json file:///mnt/backup/app | jq -r '.snapshots[].key'

JSON: { claim: { version, lineage, writer, created } | null, snapshots: [{ key, txid, size, lastModified }],
segments: [{ key, level, minTxid, maxTxid, size, lastModified }], size, restorable: [{ from: { txid, time }, to: { txid, time },
states, level }], newest: { txid, id, time } | null, problem: string | null }. Times are ISO 8601 (claim.created: milliseconds
since 1970), sizes bytes; maxTxid is null at level 0, where only the object tells. restorable is oldest first; one entry has the
states at the grain of a level, null for a snapshot that stands alone; where one begins with the txid that the entry before
ends with, nothing is missing between them. Exit code 1 with a problem, 3 without a replica.`,
  options: {},
  words: [1, 1],
  async run([replica], { json }) {
    const store = await openReplica(replica!);
    const claim = await findClaim(store);
    const { listing, newest, problem, restorable } = await lookAgain(async () => {
      const listing = await listReplica(store);
      return { listing, ...(await look(store, listing)), restorable: await datedSpans(store, listing) };
    });
    const time = newest && iso(newest.header.commits.last);
    const size = sizeOf(listing.snapshots) + sizeOf(listing.segments);
    const code = problem !== null ? EXIT_FAILED : claim === null ? EXIT_NOTHING : EXIT_OK;
    if (json) {
      const snapshots = listing.snapshots.map((info) => ({ txid: info.txid, ...described(info) }));
      const segments = listing.segments.map((info) => {
        const { level, minTxid, maxTxid } = info;
        return { level, minTxid, maxTxid, ...described(info) };
      });
      const state = newest && { ...newest.to, time };
      console.log(JSON.stringify({ claim, snapshots, segments, size, restorable, newest: state, problem }));
      return code;
    }
    if (claim === null) {
      console.log(`There is no replica at ${store.url}.`);
      return code;
    }
    console.log(`Begun     ${iso(claim.created)} by writer ${claim.writer}, history ${claim.lineage}`);
    printObjects(listing);
    console.log(`In all    ${byteSize(size)}`);
    for (const span of restorable) console.log(`Restore   ${inWords(span)}`);
    if (newest !== null) console.log(`Newest    transaction ${newest.to.txid}, committed ${time}`);
    else if (problem === null) console.log("Newest    none yet: the first snapshot is not complete");
    if (problem !== null) console.error(`sluice: ${problem}. A restore would refuse this replica.`);
    return code;
  },
};

interface DatedSpan {
  readonly from: { readonly txid: number; readonly time: string };
  readonly to: { readonly txid: number; readonly time: string };
  readonly states: number;
  readonly level: number | null;
}

/** Two small requests a span, of which there is about one a level. */
function datedSpans(store: ObjectStore, listing: Listing): Promise<DatedSpan[]> {
  const dated = async ({ object }: Reached) => {
    const { to, commits } = await readStoredHeader(store, object);
    return { txid: to.txid, time: iso(commits.last) };
  };
  return Promise.all(
    restorableSpans(listing).map(async ({ from, to, states, level }) => {
      const [begin, end] = await Promise.all([dated(from), dated(to)]);
      return { from: begin, to: end, states, level };
    }),
  );
}

function inWords({ from, to, states, level }: DatedSpan): string {
  const begin = `${from.time} (transaction ${from.txid})`;
  if (level === null || states === 1) return `${begin}: one state`;
  const grain = level === 0 ? "" : `, one for ${16 ** level} segments of level 0`;
  return `${begin} to ${to.time} (${to.txid}): ${states} states${grain}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function sizeOf(objects: readonly ObjectInfo[]): number {
  return objects.reduce((sum, { size }) => sum + size, 0);
}

function printObjects({ snapshots, segments }: Listing): void {
  for (const { key, txid, size } of snapshots)
    console.log(`Snapshot  transaction ${txid}, ${byteSize(size)}, ${key}`);
  for (let level = 0; level <= maxLevel; level++) {
    const objects = segments.filter((segment) => segment.level === level);
    const [first] = objects;
    if (first === undefined) continue;
    const count = objects.length === 1 ? "1 segment" : `${objects.length} segments`;
    console.log(`Level ${level}   ${count} from transaction ${first.minTxid}, ${byteSize(sizeOf(objects))}`);
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
  return { key, size, lastModified: iso(lastModified) };
}
