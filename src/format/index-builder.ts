import type { ObjectIndex } from "./index-table.ts";

/** Gathers an index while its object is written: 12 bytes a page and 8 a block, in tables that double when full. */
export class IndexBuilder {
  private pgnos: Uint32Array;
  private hashes: BigUint64Array;
  private blocks = new Uint32Array(16);
  private entryCount = 0;
  private blockCount = 0;

  /** `expected`: number of pages, where it is known. `most`: pages that there can be. */
  constructor(
    expected: number,
    private readonly most: number,
  ) {
    this.pgnos = new Uint32Array(expected);
    this.hashes = new BigUint64Array(expected);
  }

  get hashesSoFar(): BigUint64Array {
    return this.hashes.subarray(0, this.entryCount);
  }

  addPage(pgno: number, hash: bigint): void {
    if (this.entryCount === this.pgnos.length) {
      const next = Math.min(2 * this.entryCount, this.most);
      this.pgnos = grow(this.pgnos, new Uint32Array(next));
      this.hashes = grow(this.hashes, new BigUint64Array(next));
    }
    this.pgnos[this.entryCount] = pgno;
    this.hashes[this.entryCount++] = hash;
  }

  addBlock(compressedLength: number, rawLength: number): void {
    if (2 * this.blockCount === this.blocks.length) {
      this.blocks = grow(this.blocks, new Uint32Array(2 * this.blocks.length));
    }
    this.blocks[2 * this.blockCount] = compressedLength;
    this.blocks[2 * this.blockCount++ + 1] = rawLength;
  }

  get(): ObjectIndex {
    const blocks = this.blocks;
    return {
      pgnos: this.pgnos.subarray(0, this.entryCount),
      hashes: this.hashesSoFar,
      compressedLengths: Uint32Array.from({ length: this.blockCount }, (_, b) => blocks[2 * b]!),
      rawLengths: Uint32Array.from({ length: this.blockCount }, (_, b) => blocks[2 * b + 1]!),
    };
  }
}

function grow<T extends { set(from: T): void }>(from: T, to: T): T {
  to.set(from);
  return to;
}
