import type { GivenUp } from "./cache/write-cache.ts";
import { ReplicaFencedError } from "./errors.ts";
import { type Position, samePosition } from "./format/position.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** As many as arrive late at the most: an upload that was cut off longer ago does not any more. */
const MOST = 16;

/** Where the chain in the store may lead from `from` by what was given up there. */
export function mayArrive(givenUp: GivenUp | undefined, from: Position): readonly Position[] {
  return givenUp && samePosition(givenUp.from, from) ? givenUp.to : [];
}

/** The same, once a head between these is given up, too. */
export function alsoGivenUp(
  givenUp: GivenUp | undefined,
  { from, to }: Record<"from" | "to", Position>,
): GivenUp {
  return { from, to: [...mayArrive(givenUp, from), to].slice(-MOST) };
}

/**
 * What stands where the head belongs is our own, which was given up before and has arrived since: the head that was to make
 * up for it is given up in turn, and a resync leads on from there.
 */
export class ArrivedError extends ReplicaFencedError {
  constructor(
    { url }: ObjectStore,
    readonly end: Position,
  ) {
    super(
      `${url} holds what was given up as damaged: it arrived late, and leads to transaction ${end.txid}`,
      {},
    );
  }
}
