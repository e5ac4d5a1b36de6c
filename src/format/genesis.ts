import type { Codecs } from "./codecs.ts";
import { idFromBytes } from "./id.ts";
import type { Position } from "./position.ts";

/** Where every chain of a lineage begins: the state of the database when its replication began. */
export function genesisPosition(lineage: string, codecs: Codecs): Position {
  const hash = codecs.sha256();
  hash.update(new TextEncoder().encode(lineage));
  return { txid: 0, id: idFromBytes(hash.digest()) };
}
