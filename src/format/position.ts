/**
 * A place in the history of one database: after `txid` captured commits. `id` (32 lowercase hex digits) is the content
 * hash of the last object that leads there, so two histories that differ never share a position.
 */
export interface Position {
  readonly txid: number;
  readonly id: string;
}

export function samePosition(a: Position, b: Position): boolean {
  return a.txid === b.txid && a.id === b.id;
}

/** Transaction ids stand in keys as 16 lowercase hex digits, so that keys sort as numbers do. */
export function txidToHex(txid: number): string {
  return txid.toString(16).padStart(16, "0");
}
