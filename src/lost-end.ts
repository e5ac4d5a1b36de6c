import { BrokenReplicaError } from "./errors.ts";
import type { Position } from "./format/position.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** The chain ends before what was uploaded: the store lost the rest, and a resync goes on from there. */
export class LostEndError extends BrokenReplicaError {
  constructor(
    { url }: ObjectStore,
    end: Position,
    readonly uploaded: Position,
  ) {
    super(
      `${url} ends at transaction ${end.txid} (${end.id}), what was uploaded ended at ${uploaded.txid} (${uploaded.id})`,
      { txid: Math.min(end.txid, uploaded.txid) + 1 },
    );
  }
}
