import { type Position, samePosition } from "./format/position.ts";
import type { SegmentInfo } from "./replica.ts";
import type { SoundObject } from "./verify-object.ts";
import { type Finding, finding } from "./verify-report.ts";

/** What is to be done with the contents of objects, in the order of history. Each is opened once more for it. */
export type Step =
  /** The pages of a segment replace those before. */
  | { readonly do: "apply"; readonly object: SoundObject }
  /** From here on a merged segment's parts are applied, and then it must be what they add up to. */
  | { readonly do: "open"; readonly object: SoundObject }
  | { readonly do: "compare"; readonly object: SoundObject }
  /** The state is this snapshot, if it is known; and from here on it is known. */
  | { readonly do: "snapshot"; readonly object: SoundObject }
  /** What comes next does not go on from what was before. */
  | { readonly do: "forget" };

export interface ChainAnalysis {
  readonly findings: readonly Finding[];
  readonly steps: readonly Step[];
  /** Where the chain ends. */
  readonly end: Position | null;
}

interface Segment extends SoundObject {
  readonly from: Position;
  readonly level: number;
}

/**
 * How objects lead from one to the next, by their positions alone. Pure. Restore goes by the longest segment from each
 * position; what that covers is followed level by level, and is either a part of the same history or a stray.
 * `unsound`: segments whose positions are not known; where one may be what is missing, it is not missing as well.
 * `genesis`: where a chain begins that has its beginning still.
 */
export function analyseChain(
  objects: readonly SoundObject[],
  unsound: readonly SegmentInfo[],
  genesis: Position,
): ChainAnalysis {
  return new Analysis(objects, unsound, genesis).run();
}

class Analysis {
  readonly #segments: readonly Segment[];
  readonly #unsound: readonly SegmentInfo[];
  readonly #findings: Finding[] = [];
  readonly #steps: Step[] = [];
  /** Snapshots that no step has reached yet, in order. */
  #waiting: SoundObject[];
  #at: Position | null = null;
  /** Segments before this one begin before where we are. */
  #passed = 0;
  readonly #genesis: Position;
  readonly #strays = new Set<Segment>();

  constructor(objects: readonly SoundObject[], unsound: readonly SegmentInfo[], genesis: Position) {
    this.#segments = objects
      .filter((object): object is Segment => object.from !== null)
      .sort((a, b) => a.from.txid - b.from.txid || b.to.txid - a.to.txid || b.level - a.level);
    this.#waiting = objects.filter(({ from }) => from === null).sort((a, b) => a.to.txid - b.to.txid);
    this.#unsound = unsound;
    this.#genesis = genesis;
  }

  run(): ChainAnalysis {
    const used = new Set<Segment>();
    for (let next = this.#next(); next !== null; next = this.#next()) {
      this.#reach(next);
      if (next.from === null) continue;
      const segment = next as Segment;
      const covered = this.#coveredBy(segment);
      for (const each of [segment, ...covered]) used.add(each);
      this.#enter(segment, covered);
      this.#passSnapshots(segment.to);
    }
    for (const segment of this.#segments) if (!used.has(segment)) this.#strays.add(segment);
    for (const { key, from, to } of this.#strays)
      this.#findings.push(
        finding(
          "stray",
          `${key}: a higher level stands for transactions ${from.txid + 1} to ${to.txid}, and leads elsewhere`,
          { key, txid: from.txid + 1 },
        ),
      );
    return { findings: this.#findings, steps: this.#steps, end: this.#at };
  }

  /** The longest segment that begins where we are; else whatever comes first behind that. */
  #next(): SoundObject | null {
    const at = this.#at?.txid ?? -1;
    const [snapshot] = this.#waiting;
    while (this.#passed < this.#segments.length && this.#segments[this.#passed]!.from.txid < at)
      this.#passed += 1;
    const segment = this.#segments[this.#passed];
    // At the very beginning, and behind a gap, a snapshot comes before the segments that go on from it.
    if (snapshot === undefined || (segment && segment.from.txid < snapshot.to.txid)) return segment ?? null;
    return snapshot;
  }

  /** Moves to where the object begins, and says so where nothing leads there. */
  #reach(next: SoundObject): void {
    const begin = next.from ?? next.to;
    if (next.from === null) this.#waiting.shift();
    const at = this.#at ?? (begin.txid === 0 ? this.#genesis : null);
    if (at !== null && !samePosition(at, begin)) {
      this.#steps.push({ do: "forget" });
      if (at.txid === begin.txid) this.#fork(next, at);
      else if (!this.#unsound.some(({ minTxid }) => minTxid > at.txid && minTxid <= begin.txid))
        this.#findings.push(
          finding("gap", `transactions ${at.txid + 1} to ${begin.txid} are in no object`, {
            key: next.key,
            txid: at.txid + 1,
          }),
        );
    }
    this.#at = begin;
    if (next.from === null) this.#steps.push({ do: "snapshot", object: next });
  }

  #fork({ key }: SoundObject, { txid, id }: Position): void {
    const message = `${key}: goes on from another transaction ${txid} than the one that stands before it (${id})`;
    this.#findings.push(finding("fork", message, { key, txid }));
  }

  /** Applies the parts of a segment where all of them are there, itself otherwise. */
  #enter(segment: Segment, covered: readonly Segment[]): void {
    const parts = this.#partsOf(segment, covered);
    if (parts === null) this.#steps.push({ do: "apply", object: segment });
    else {
      this.#steps.push({ do: "open", object: segment });
      for (const [i, part] of parts.entries()) {
        const within = covered.filter((other) => other !== part && covers(part, other));
        this.#enter(part, within);
        // At its end the segment is compared first: behind a snapshot the state is that snapshot's.
        if (i < parts.length - 1) this.#passSnapshots(part.to);
      }
      this.#steps.push({ do: "compare", object: segment });
    }
    this.#at = segment.to;
  }

  /** Snapshots up to here: one where we are is compared, one that was passed over inside a merged segment cannot be. */
  #passSnapshots(to: Position): void {
    while (this.#waiting[0] !== undefined && this.#waiting[0].to.txid <= to.txid) {
      const object = this.#waiting.shift()!;
      if (object.to.txid < to.txid) continue;
      if (samePosition(object.to, to)) this.#steps.push({ do: "snapshot", object });
      else this.#fork(object, to);
    }
  }

  /** They begin where it does or later, and so stand behind it. */
  #coveredBy(segment: Segment): Segment[] {
    const found: Segment[] = [];
    for (let i = this.#passed; i < this.#segments.length; i++) {
      const other = this.#segments[i]!;
      if (other.from.txid >= segment.to.txid) break;
      if (other !== segment && covers(segment, other)) found.push(other);
    }
    return found;
  }

  /**
   * Follows each level among the covered ones. Where its end is not that of the segment it is astray; the highest level
   * that is whole is what the segment consists of. Null: none is, since retention took some or all.
   */
  #partsOf(segment: Segment, covered: readonly Segment[]): readonly Segment[] | null {
    let parts: readonly Segment[] | null = null;
    for (let level = segment.level; level >= 0; level--) {
      const chain = this.#followLevel(
        segment,
        covered.filter((other) => other.level === level),
      );
      if (parts === null && chain.length > 0 && samePosition(chain[0]!.from, segment.from)) parts = chain;
    }
    return parts;
  }

  /** The unbroken run of one level that leads to the segment's end. The others of that level are astray, unless they end before. */
  #followLevel(segment: Segment, level: readonly Segment[]): readonly Segment[] {
    const run: Segment[] = [];
    let needed = segment.to;
    for (const other of [...level].reverse()) {
      if (samePosition(other.to, needed)) {
        run.unshift(other);
        needed = other.from;
      } else if (other.to.txid > needed.txid || other.to.txid === needed.txid) this.#strays.add(other);
      else break; // Something between them is gone: nothing can be said of those before.
    }
    return run;
  }
}

function covers(segment: Segment, other: Segment): boolean {
  return segment.from.txid <= other.from.txid && other.to.txid <= segment.to.txid;
}
