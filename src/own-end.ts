import type { GivenUp, PositionRecord } from "./cache/write-cache.ts";
import { isDamage } from "./damage.ts";
import { ReplicaFencedError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { type Position, samePosition } from "./format/position.ts";
import { ArrivedError, mayArrive } from "./given-up.ts";
import { lookAgain } from "./look-again.ts";
import { LostEndError } from "./lost-end.ts";
import { plan } from "./plan.ts";
import { listReplica, openStored } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { checkTail, type TailContext } from "./tail.ts";

/**
 * Looks whether the chain ends at `uploaded`, or with our own beyond: see `checkTail`. A replica that is damaged or has no
 * snapshot does not tell where it ends: nobody went on from it, and the snapshot that it lacks is due.
 *
 * Throws ReplicaFencedError where it ends with another writer's, ArrivedError where what we gave up is merged where
 * `pending` was to be, LostEndError where it ends before that with ours, StoreError.
 */
export async function requireTail(
  context: TailContext,
  uploaded: Position,
  pending: Position | null,
  signal?: AbortSignal,
): Promise<void> {
  const { holdsEnd, arrived } = await checkTail(context, uploaded, pending, signal);
  if (arrived !== null && pending !== null) throw new ArrivedError(context.store, arrived);
  if (!holdsEnd) await requireEnd(context, uploaded, pending, signal);
}

/** The same for whoever makes up for what the store lost, also where that is our end. */
export async function requireNoOther(...look: Parameters<typeof requireTail>): Promise<void> {
  try {
    await requireTail(...look);
  } catch (error) {
    if (!(error instanceof LostEndError)) throw error;
  }
}

async function requireEnd(
  { store, writer, codecs, givenUp }: TailContext,
  uploaded: Position,
  pending: Position | null,
  signal?: AbortSignal,
): Promise<void> {
  const end = await endOfReplica(store, codecs, signal).catch((error: unknown) => {
    if (isDamage(error)) return null;
    throw error;
  });
  if (end === null || samePosition(end.to, uploaded)) return;
  // An upload that was given up as failed may land only now.
  if (pending !== null && samePosition(end.to, pending)) return;
  requireOwnEnd(store, end, { cached: uploaded, writer, givenUp: givenUp() });
  if (end.to.txid < uploaded.txid) throw new LostEndError(store, end.to, uploaded);
}

/** The last object of the chain; null where nothing was uploaded. Throws what `plan` throws, CorruptObjectError, StoreError. */
export function endOfReplica(
  store: ObjectStore,
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<ObjectReader | null> {
  return lookAgain(async () => {
    const chosen = plan(await listReplica(store, signal), store.url);
    return chosen && openStored(store, chosen.segments.at(-1) ?? chosen.snapshot, codecs, signal);
  });
}

/**
 * The chain ends where our record says, with what we gave up there, or before that with what we uploaded: a store may lose
 * the rest. Where it ends before that with another writer's, nobody can know whether that is what we went on from, or what
 * went on without us.
 *
 * Throws ReplicaFencedError where we cannot go on from there.
 */
export function requireOwnEnd(
  { url }: ObjectStore,
  { to, header }: Pick<ObjectReader, "to" | "header">,
  { cached, writer, givenUp }: Pick<PositionRecord, "cached" | "writer"> & { givenUp?: GivenUp | undefined },
): void {
  if ([cached, ...mayArrive(givenUp, cached)].some((own) => samePosition(to, own))) return;
  if (to.txid < cached.txid && header.writer === writer) return;
  throw new ReplicaFencedError(
    `Another writer extended ${url} to transaction ${to.txid}; this one had come to ${cached.txid}. The local database still ` +
      "works; restore from the replica, or decide with onUnknownLocal.",
    {},
  );
}
