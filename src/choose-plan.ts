import { BrokenReplicaError, NotRestorableError, StoreError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectHeader } from "./format/header.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";
import { History, type Reached } from "./history.ts";
import { type Plan, type PlanTarget, plan } from "./plan.ts";
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
    else {
      const contradicted = await findContradicted(store, chosen, codecs, signal);
      if (contradicted === null) return chosen;
      known = withoutStrays(known, contradicted, store.url);
    }
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
 */
async function targetAt(
  store: ObjectStore,
  listing: Listing,
  timestamp: number,
  headers: Headers,
  codecs: Codecs,
  signal: AbortSignal | undefined,
): Promise<PlanTarget> {
  for (;;) {
    const history = new History(headers.settle(listing));
    const { reached } = history.walk(Number.POSITIVE_INFINITY);
    const first = await firstAfter(history, reached, timestamp, headers);
    if (first === "surprise") continue;
    if (first === undefined) return "latest"; // Or nothing at all, for `plan` to say.
    if (first === reached[0]) throw await tooEarly(store, timestamp, first, reached.at(-1)!, headers);
    // All depends on this one: it is checked by its id, as headers alone are not.
    const { to, header, key } = await openStored(store, first.object, codecs, signal);
    if (header.commits.last <= timestamp)
      throw new StoreError("precondition-failed", `${key} has another header by now`, { key });
    const target = { txid: to.txid - 1 };
    const doubtful = history.walk(target.txid).crossing.filter(({ maxTxid }) => maxTxid === null);
    if (doubtful.length === 0) return target;
    await headers.readAll(doubtful); // One may end before, where its neighbour is missing: a state that was not seen.
  }
}

/**
 * The first position that was committed after `timestamp`. "surprise" where a segment does not end where it was taken to.
 *
 * Times never go back along the chain, so this is a binary search: first among the ends of what is not part of a merged
 * segment, then within the one where it led to. A stray within cannot mislead it beyond that.
 */
async function firstAfter(
  history: History,
  reached: readonly Reached[],
  timestamp: number,
  headers: Headers,
): Promise<Reached | undefined | "surprise"> {
  let surprised = false;
  const search = async (among: readonly Reached[]) => {
    let low = 0;
    let high = among.length;
    while (low < high && !surprised) {
      const middle = (low + high) >>> 1;
      const { to, commits } = await headers.read(among[middle]!.object);
      surprised = to.txid !== among[middle]!.txid;
      if (commits.last <= timestamp) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const whole = reached.filter(({ txid }) => !history.isCovered(txid));
  const after = await search(whole);
  const [from, to] = [whole[after - 1]?.txid ?? -1, whole[after]?.txid ?? Number.POSITIVE_INFINITY];
  const within = reached.filter(({ txid }) => txid > from && txid < to);
  const first = within[await search(within)] ?? whole[after];
  return surprised ? "surprise" : first;
}

async function tooEarly(
  store: ObjectStore,
  timestamp: number,
  first: Reached,
  last: Reached,
  headers: Headers,
): Promise<NotRestorableError> {
  const state = async ({ object }: Reached) => {
    const { to, commits } = await headers.read(object);
    return { txid: to.txid, time: commits.last };
  };
  const [oldest, newest] = [await state(first), await state(last)];
  const iso = (ms: number) => new Date(ms).toISOString();
  return new NotRestorableError(
    `${iso(timestamp)} is before the oldest state of ${store.url} that can be restored: those go from ` +
      `${iso(oldest.time)} (transaction ${oldest.txid}) to ${iso(newest.time)} (transaction ${newest.txid}).`,
    oldest,
    newest,
  );
}

/** The innermost merged segment of a plan's proof with whose end lower levels do not agree; null where all do. */
async function findContradicted(
  store: ObjectStore,
  { segments, proof }: Plan,
  codecs: Codecs,
  signal: AbortSignal | undefined,
): Promise<SegmentInfo | null> {
  if (proof.length === 0) return null;
  const infos = [...segments.slice(-1), ...proof.flatMap((stretch) => [...stretch.segments, stretch.merged])];
  const opened = prefetch(infos, OPEN_AHEAD, (info) => openStored(store, info, codecs, signal));
  const next = async () => (await opened.next()).value as ObjectReader;
  let end = (await next()).to;
  for (const { segments, merged } of proof) {
    let fits = true;
    for (const _ of segments) {
      const { from, to } = await next();
      fits &&= samePosition(from!, end);
      end = to;
    }
    if (!fits || !samePosition((await next()).to, end)) return merged;
  }
  return null;
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
