import { BrokenReplicaError, NotRestorableError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectHeader } from "./format/header.ts";
import { type Position, samePosition } from "./format/position.ts";
import { History, type Reached } from "./history.ts";
import { type Plan, type PlanTarget, type Proof, plan } from "./plan.ts";
import { prefetch } from "./prefetch.ts";
import { type Listing, openStored, readStoredHeader, type SegmentInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Which state to restore: the newest, or the last at or before a transaction or a time (milliseconds since 1970). */
export type RestorePoint = PlanTarget | { readonly timestamp: number };

/** Headers that are read ahead, and objects that are opened ahead. */
const READ_AHEAD = 16;
const OPEN_AHEAD = 8;

/**
 * Plans with what only the objects themselves can tell: when their commits were, and where those of level 0 end. Costs a
 * few small requests: none for the newest state of a plain replica, about log2 of the number of objects for a time.
 * Throws what `plan` throws, CorruptObjectError, UnsupportedFormatError, StoreError.
 */
export async function choosePlan(
  store: ObjectStore,
  listing: Listing,
  point: RestorePoint,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<Plan | null> {
  const headers = new Headers(store, signal);
  let target = point;
  if (typeof target === "object" && "timestamp" in target)
    target = await targetAt(store, listing, target.timestamp, headers, codecs, signal);
  let known = listing;
  for (;;) {
    known = headers.settle(known);
    const chosen = plan(known, store.url, target);
    if (chosen === null) return null;
    if (chosen.unsettled.length > 0) await headers.readAll(chosen.unsettled);
    else if (chosen.proof === null || (await agrees(store, chosen, chosen.proof, codecs, signal)))
      return chosen;
    else known = withoutStrays(known, chosen.proof.merged, store.url);
  }
}

/** Headers of objects, each read once. */
class Headers {
  readonly #read = new Map<string, ObjectHeader>();

  constructor(
    private readonly store: ObjectStore,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async read(info: Reached["object"]): Promise<ObjectHeader> {
    const header = this.#read.get(info.key) ?? (await readStoredHeader(this.store, info, this.signal));
    this.#read.set(info.key, header);
    return header;
  }

  async readAll(infos: readonly SegmentInfo[]): Promise<void> {
    for await (const _ of prefetch(infos, READ_AHEAD, (info) => this.read(info)));
  }

  /** The listing, with what headers say of where segments end. */
  settle({ snapshots, segments }: Listing): Listing {
    const settled = segments.map((info) => {
      const header = this.#read.get(info.key);
      return header === undefined ? info : { ...info, maxTxid: header.to.txid };
    });
    return { snapshots, segments: settled };
  }
}

/**
 * The transaction before the first known commit after `timestamp`: no state in between is known, so the last state up to
 * that transaction is the last one at `timestamp`, and a gap in between is found as any other.
 *
 * Times never go back along the chain, so this is a binary search: first among the ends of what is not part of a merged
 * segment, then within the one where it led to. A stray within cannot mislead it beyond that.
 */
async function targetAt(
  store: ObjectStore,
  listing: Listing,
  timestamp: number,
  headers: Headers,
  codecs: Codecs,
  signal: AbortSignal | undefined,
): Promise<PlanTarget> {
  const history = new History(listing);
  const { reached } = history.walk(Number.POSITIVE_INFINITY);
  if (reached.length === 0) return "latest"; // For `plan` to judge.
  const timeOf = async ({ object }: Reached) => (await headers.read(object)).commits.last;
  const whole = reached.filter(({ txid }) => !history.isCovered(txid));
  const after = await firstAfter(whole, timestamp, timeOf);
  const beyond = whole[after];
  if (beyond === undefined) return "latest";
  const from = whole[after - 1]?.txid ?? -1;
  const within = reached.filter(({ txid }) => txid > from && txid < beyond.txid);
  const first = within[await firstAfter(within, timestamp, timeOf)] ?? beyond;
  if (first === reached[0]) {
    const oldest = { txid: first.txid, time: await timeOf(first) };
    const last = reached.at(-1)!;
    throw tooEarly(store, timestamp, oldest, { txid: last.txid, time: await timeOf(last) });
  }
  // All depends on this one: it is checked by its id, as headers alone are not.
  const { to, header } = await openStored(store, first.object, codecs, signal);
  if (header.commits.last > timestamp) return { txid: to.txid - 1 };
  const { key } = first.object;
  throw new StoreError("precondition-failed", `${key} has another header by now`, { key });
}

/** Index of the first whose time is after `timestamp`. */
async function firstAfter<T>(
  items: readonly T[],
  timestamp: number,
  timeOf: (item: T) => Promise<number>,
): Promise<number> {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((await timeOf(items[middle]!)) <= timestamp) low = middle + 1;
    else high = middle;
  }
  return low;
}

function tooEarly(
  store: ObjectStore,
  timestamp: number,
  oldest: { txid: number; time: number },
  newest: { txid: number; time: number },
): NotRestorableError {
  const iso = (ms: number) => new Date(ms).toISOString();
  return new NotRestorableError(
    `${iso(timestamp)} is before the oldest state of ${store.url} that can be restored: those go from ` +
      `${iso(oldest.time)} (transaction ${oldest.txid}) to ${iso(newest.time)} (transaction ${newest.txid}).`,
    oldest,
    newest,
  );
}

/** Whether the lower level leads from the plan's end to exactly where the merged segment ends. */
async function agrees(
  store: ObjectStore,
  { segments }: Plan,
  proof: Proof,
  codecs: Codecs,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const open = (info: SegmentInfo) => openStored(store, info, codecs, signal);
  let end: Position | null = null;
  for await (const { from, to } of prefetch([...segments.slice(-1), ...proof.segments], OPEN_AHEAD, open)) {
    if (end !== null && !samePosition(from!, end)) return false;
    end = to;
  }
  return end !== null && samePosition((await open(proof.merged)).to, end);
}

/** What lower levels hold of a merged segment is another history than its own: the merged one counts. */
function withoutStrays({ snapshots, segments }: Listing, merged: SegmentInfo, replica: string): Listing {
  const isStray = ({ level, minTxid, maxTxid }: SegmentInfo) =>
    level < merged.level && minTxid >= merged.minTxid && (maxTxid ?? minTxid) <= merged.maxTxid!;
  const others = segments.filter((info) => !isStray(info));
  if (others.length < segments.length) return { snapshots, segments: others };
  throw new BrokenReplicaError(`${replica} forks: two ways lead to transaction ${merged.maxTxid}`, {
    key: merged.key,
    txid: merged.maxTxid!,
  });
}
