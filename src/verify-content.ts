import { CorruptObjectError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { lockBytePage } from "./format/layout.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { prefetch } from "./prefetch.ts";
import { openStored } from "./replica.ts";
import { halves, lastCompared } from "./replica-state.ts";
import type { ObjectStore } from "./store/object-store.ts";
import type { Step } from "./verify-chain.ts";
import { type Finding, finding } from "./verify-report.ts";

const OPEN_AHEAD = 4;
/** Page numbers that a finding names. */
const NAMED_PAGES = 20;

/**
 * Goes through history by the hashes in the objects' indexes: whether each snapshot is what the objects before it add up
 * to, and each merged segment what its parts do. 8 bytes a page, and the index of one object.
 */
export async function checkContents(
  store: ObjectStore,
  steps: readonly Step[],
  codecs: Codecs,
  signal?: AbortSignal,
): Promise<Finding[]> {
  const state = new State();
  const findings: Finding[] = [];
  const opened = prefetch(steps, OPEN_AHEAD, async (step) => ({
    step,
    object:
      step.do === "forget" || step.do === "open"
        ? null
        : await openStored(store, step.object, codecs, signal),
  }));
  try {
    for await (const { step, object } of opened) {
      signal?.throwIfAborted();
      if (step.do === "forget") state.forget();
      else if (object === null) state.open();
      else if (step.do === "apply") state.apply(object);
      else {
        const compared = step.do === "compare" ? state.compareMerged(object) : state.compareSnapshot(object);
        if (compared.count > 0) findings.push(different(object, compared));
      }
    }
  } catch (error) {
    // It was sound a moment ago: whatever that means, what comes behind it cannot be judged.
    if (!(error instanceof CorruptObjectError)) throw error;
    findings.push(finding("damaged", error.message, { key: error.key, part: error.part }));
  }
  return findings;
}

function different({ key, from, to }: ObjectReader, { pages, count }: Differences): Finding {
  const what = from === null ? "what the objects before it add up to" : "what it was merged from";
  const message = `${key}: ${count} pages are not ${what}: ${pages.join(", ")}${count > pages.length ? ", …" : ""}`;
  return finding("different", message, { key, txid: from === null ? to.txid : from.txid + 1 });
}

/** Pages in which an object is not what it must be: how many, and the first of them. */
class Differences {
  readonly pages: number[] = [];
  count = 0;

  add(pgno: number): void {
    this.count += 1;
    if (this.pages.length < NAMED_PAGES) this.pages.push(pgno);
  }
}

class State {
  /** By page number, two halves each. */
  #hashes = new Uint32Array(0);
  readonly #known = new Bits();
  /** Every page is known: a snapshot was met, and nothing broke off since. */
  #whole = false;
  #pageCount = 0;
  /** Pages written since each merged segment began whose parts are being applied, the outermost first. */
  readonly #written: Bits[] = [];

  forget(): void {
    this.#known.clear(0);
    this.#whole = false;
  }

  open(): void {
    this.#written.push(new Bits());
  }

  apply(object: ObjectReader): void {
    this.#resize(object.pageCount);
    this.#take(object, (pgno) => {
      for (const written of this.#written) written.set(pgno);
    });
  }

  #take({ pgnos, hashes }: ObjectReader, each: (pgno: number) => void): void {
    const theirs = halves(hashes);
    for (let entry = 0; entry < pgnos.length; entry++) {
      const pgno = pgnos[entry]!;
      this.#hashes[2 * pgno] = theirs[2 * entry]!;
      this.#hashes[2 * pgno + 1] = theirs[2 * entry + 1]!;
      this.#known.set(pgno);
      each(pgno);
    }
  }

  /** Pages above a size are gone for good: what comes back there is written anew. */
  #resize(pageCount: number): void {
    if (pageCount < this.#pageCount) this.#known.clear(pageCount + 1);
    this.#pageCount = pageCount;
    if (this.#hashes.length >= 2 * (pageCount + 1)) return;
    const larger = new Uint32Array(2 * (pageCount + 1));
    larger.set(this.#hashes);
    this.#hashes = larger;
  }

  #equals(pgno: number, theirs: Uint32Array, entry: number): boolean {
    return (
      this.#known.has(pgno) &&
      this.#hashes[2 * pgno] === theirs[2 * entry] &&
      this.#hashes[2 * pgno + 1] === theirs[2 * entry + 1]
    );
  }

  compareSnapshot(object: ObjectReader): Differences {
    const differences = new Differences();
    const theirs = halves(object.hashes);
    const excluded = lockBytePage(object.pageSize);
    if (this.#whole) {
      const last = lastCompared(object.pageCount, this.#pageCount, this.#equals(1, theirs, 0));
      for (let pgno = 1; pgno <= last; pgno++)
        if (pgno !== excluded && !(pgno <= object.pageCount && this.#equals(pgno, theirs, pgno - 1)))
          differences.add(pgno);
    }
    this.#resize(object.pageCount);
    this.#take(object, () => {});
    this.#whole = true;
    return differences;
  }

  /** It holds just the pages that its parts wrote, as they left them, up to its size. */
  compareMerged(object: ObjectReader): Differences {
    const differences = new Differences();
    const written = this.#written.pop()!;
    const theirs = halves(object.hashes);
    let entry = 0;
    for (let pgno = 1; pgno <= object.pageCount; pgno++) {
      const has = object.pgnos[entry] === pgno;
      if (has !== written.has(pgno) || (has && !this.#equals(pgno, theirs, entry))) differences.add(pgno);
      if (has) entry += 1;
    }
    return differences;
  }
}

/** A set of page numbers, a bit each. */
class Bits {
  #bytes = new Uint8Array(1024);

  has(n: number): boolean {
    return ((this.#bytes[n >>> 3] ?? 0) & (1 << (n & 7))) !== 0;
  }

  set(n: number): void {
    if (n >>> 3 >= this.#bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.#bytes.length, (n >>> 3) + 1));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[n >>> 3]! |= 1 << (n & 7);
  }

  /** All from `first` on. */
  clear(first: number): void {
    for (let n = first; n < 8 * this.#bytes.length && (n & 7) !== 0; n++)
      this.#bytes[n >>> 3]! &= ~(1 << (n & 7));
    this.#bytes.fill(0, (first + 7) >>> 3);
  }
}
