import type { BlockLayout } from "./format/object-reader.ts";

/** Pages `j`, `j + 1`, … of a block, which are the database's from `pgno` on. */
export interface PageRun {
  readonly j: number;
  readonly count: number;
  readonly pgno: number;
}

/** A block for another thread: what it is packed in, what it unpacks to, and which of its pages to write. */
export interface BlockOrder {
  /** One zstd frame, in lent memory. */
  readonly frame: Uint8Array;
  readonly layout: BlockLayout;
  readonly runs: readonly PageRun[];
}

/**
 * Threads that unpack blocks, check them as `ObjectReader.decodeBlock` does, and write their pages. What they use they use
 * again, so that nothing is left to collect.
 */
export interface BlockThreads {
  /**
   * Memory that the threads see, too, large enough for one request; resolves when some is free, in the order of the calls. To be
   * given back, whichever part of it.
   */
  lend(): Promise<Uint8Array>;
  giveBack(memory: Uint8Array): void;
  /** Resolves when all runs are written. Rejects when anything is not as ordered, or fails, or the thread ends: then some may be. */
  write(order: BlockOrder): Promise<void>;
  /** Ends the threads: nothing is written afterwards. What is under way rejects. */
  end(): Promise<void>;
}
