import fc from "fast-check";
import { expect, test } from "vitest";
import { BrokenReplicaError, NotRestorableError, SluiceError } from "../../node/index.ts";
import type { RestorePoint } from "../../src/choose-plan.ts";
import { BEGIN_MS, PAGE_SIZE, restoreState, type Segment, SyntheticReplica } from "./synthetic-replica.ts";

/** Segments that one of the next level is made of. */
const FAN_IN = 3;
const RUNS = 50;

const change = fc.record({
  changed: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }),
  pageCount: fc.integer({ min: 1, max: 6 }),
  txids: fc.integer({ min: 1, max: 3 }),
  ms: fc.integer({ min: 0, max: 3 }),
});
const history = fc.record({
  changes: fc.array(change, { minLength: 1, maxLength: 14 }),
  snapshots: fc.array(fc.nat(14), { maxLength: 3 }),
  /** Merged beside the regular groups: from one segment to another. */
  irregular: fc.option(fc.tuple(fc.nat(13), fc.integer({ min: 1, max: 4 }), fc.constantFrom(1, 2))),
  merged: fc.boolean(),
  lost: fc.oneof(fc.constant([]), fc.array(fc.nat(40), { maxLength: 8 })),
  firstSnapshotLost: fc.boolean(),
});
type History = typeof history extends fc.Arbitrary<infer T> ? T : never;

async function build(plan: History): Promise<SyntheticReplica> {
  const replica = new SyntheticReplica();
  let fill = 1;
  for (const { changed, pageCount, txids, ms } of plan.changes) {
    const pages = new Map(changed.map((pgno) => [pgno, new Uint8Array(PAGE_SIZE).fill(++fill)]));
    await replica.append({ pages, pageCount, txids, ms });
  }
  const { states, segments } = replica;
  const at = plan.snapshots.map((i) => states[i % states.length]!.position.txid);
  for (const txid of new Set([0, ...at])) await replica.snapshot(txid);
  const level0 = [...segments];
  if (plan.merged) await mergeGroups(replica, 2, await mergeGroups(replica, 1, level0));
  if (plan.irregular !== null) {
    const [first, count, level] = plan.irregular;
    const parts = level0.slice(first % level0.length, (first % level0.length) + count);
    const [from, to] = [parts[0]!.from, parts.at(-1)!.to];
    // Merged segments nest, as compaction makes them.
    const crosses = (other: Segment) =>
      other.level > 0 &&
      other.from < to &&
      from < other.to &&
      !holds(other, from, to) &&
      !isHeld(other, from, to);
    const same = (other: Segment) => other.level === level && other.from === from && other.to === to;
    if (!segments.some((other) => crosses(other) || same(other))) await replica.merge(level, parts);
  }
  for (const i of plan.lost) {
    const lost = segments[i];
    if (lost !== undefined) await replica.remove(lost);
  }
  if (plan.firstSnapshotLost && replica.snapshots.length > 1) await replica.removeSnapshot(0);
  return replica;
}

const holds = (other: Segment, from: number, to: number) => other.from <= from && to <= other.to;
const isHeld = (other: Segment, from: number, to: number) => from <= other.from && other.to <= to;

async function mergeGroups(
  replica: SyntheticReplica,
  level: number,
  parts: readonly Segment[],
): Promise<Segment[]> {
  const merged: Segment[] = [];
  for (let i = 0; i + FAN_IN <= parts.length; i += FAN_IN)
    merged.push(await replica.merge(level, parts.slice(i, i + FAN_IN)));
  return merged;
}

/** The rule, by brute force and with the knowledge of where every segment ends. */
function expected(
  { segments, snapshots }: SyntheticReplica,
  upTo: number,
): { state: number } | { error: unknown } {
  const reached = new Set<number>(snapshots.filter((txid) => txid <= upTo));
  if (reached.size === 0) return { error: { constructor: NotRestorableError } };
  let crossed = false;
  for (let grown = -1; grown !== reached.size; ) {
    grown = reached.size;
    for (const { from, to } of segments) {
      if (!reached.has(from)) continue;
      if (to <= upTo) reached.add(to);
      else crossed = true;
    }
  }
  const last = Math.max(...reached);
  if (!crossed && last < upTo) {
    const newest = Math.max(...snapshots, ...segments.map(({ to }) => to));
    // A gap is not looked for on the way to what was never there.
    if (upTo > newest && upTo < Number.POSITIVE_INFINITY) return { error: expect.any(SluiceError) };
    if (newest > last) {
      const missing = (txid: number) => txid > last && !segments.some(({ from }) => from === txid - 1);
      const detail = { txid: expect.toSatisfy(missing, "is missing") };
      return { error: { constructor: BrokenReplicaError, detail } };
    }
  }
  const canBeCompared = (txid: number): boolean => {
    const around = segments.filter(({ level, from, to }) => level > 0 && from < txid && to >= txid);
    const end = Math.max(txid, ...around.map(({ to }) => to));
    return end === txid || segments.some(({ from, to }) => from === txid && to <= end && canBeCompared(to));
  };
  const good = [...reached].filter((txid) => snapshots.includes(txid) || canBeCompared(txid));
  return { state: Math.max(...good) };
}

async function expectRestores(replica: SyntheticReplica, point: RestorePoint, upTo: number): Promise<void> {
  const expectation = expected(replica, upTo);
  if ("error" in expectation) {
    const outcome = await restoreState(replica.store, point).catch((error: unknown) => ({ error }));
    expect(outcome).toMatchObject(expectation);
    return;
  }
  const { state, content } = await restoreState(replica.store, point);
  const wanted = replica.stateAt(expectation.state);
  expect(state).toMatchObject({ position: wanted.position, time: wanted.time });
  expect(Buffer.compare(content, wanted.content)).toBe(0);
}

test("every state of any history is restored byte for byte, by transaction and by time, and every gap is refused", async () => {
  const property = fc.asyncProperty(history, async (plan) => {
    const replica = await build(plan);
    const { last, segments, snapshots } = replica;
    for (let txid = 0; txid <= last.position.txid + 1; txid++) await expectRestores(replica, { txid }, txid);
    await expectRestores(replica, "latest", Number.POSITIVE_INFINITY);
    const ends = [...snapshots, ...segments.map(({ to }) => to)].sort((a, b) => a - b);
    for (let time = BEGIN_MS - 1; time <= last.time + 1; time++) {
      const after = ends.find((txid) => replica.stateAt(txid).time > time);
      await expectRestores(
        replica,
        { timestamp: time },
        after === undefined ? Number.POSITIVE_INFINITY : after - 1,
      );
    }
  });
  await fc.assert(property, { numRuns: RUNS, seed: Number(process.env.SLUICE_SEED ?? 5) });
});

test("a segment that ends before it seems to does not mislead the search for a time", async () => {
  const replica = new SyntheticReplica();
  const level0: Segment[] = [];
  for (let i = 1; i <= 6; i++) {
    const pages = new Map([[1, new Uint8Array(PAGE_SIZE).fill(i)]]);
    level0.push(await replica.append({ pages, pageCount: 2, txids: 1, ms: 1000 }));
  }
  await replica.snapshot(0);
  await replica.snapshot(4);
  await replica.merge(1, level0.slice(3));
  // By its key transaction 5 reaches to 6 now, where the merged segment ends.
  await replica.remove(level0[5]!);
  for (const [asked, restored] of [
    [4, 4],
    [5, 4],
    [6, 6],
  ] as const) {
    const { state } = await restoreState(replica.store, { timestamp: replica.stateAt(asked).time });
    expect(state.position).toEqual(replica.stateAt(restored).position);
  }
});
