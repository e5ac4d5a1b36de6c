import { describe, expect, test } from "vitest";
import type { SqliteReplicatorConfig } from "../../node/index.ts";
import type { ResyncEvent } from "../../src/events.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect, type ObjectStore } from "../../src/store/object-store.ts";

const PAGE = 8192;
const MAX_OBJECT = 1 << 26;

/** A replicator and a connection, in this thread or another. */
export interface Life {
  start(): Promise<void>;
  exec(sql: string): Promise<void>;
  flush(): Promise<void>;
  waitUntilUploaded(): Promise<void>;
  snapshot(): Promise<void>;
  /** Closes the connection, then stops. */
  stop(): Promise<void>;
  /** The detail of the next event of that kind that fits. */
  next<T>(event: string, fits?: (detail: T) => boolean): Promise<T>;
}

/** A database that replicates, which a situation brought about. */
export interface HistoryPlace {
  readonly store: ObjectStore;
  open(config?: Pick<SqliteReplicatorConfig, "onUnknownLocal" | "stopTimeoutMs">): Promise<Life>;
  /** The database file, while nothing has it open. */
  local(): Promise<Uint8Array>;
  /** What a restore makes of a replica. */
  restored(store: ObjectStore): Promise<Uint8Array>;
}

/**
 * What a start comes to.
 * - refused: UnknownLocalHistoryError, and the database is left alone.
 * - fenced: the application works on, for itself.
 * - appended: just what differs goes to the replica, behind what is there.
 * - compared: what was to be uploaded is, and is found to be all: a resync appends one page, as each does at the least.
 * - replaced: the local database is what the replica holds.
 */
export type Outcome = "refused" | "fenced" | "appended" | "compared" | "replaced";

export interface Situation {
  /** By the answer of `onUnknownLocal`. */
  readonly outcomes: Readonly<Record<"error" | "adopt-local" | "adopt-remote", Outcome>>;
  make(): Promise<HistoryPlace>;
}

export const UNKNOWN = { error: "refused", "adopt-local": "appended", "adopt-remote": "replaced" } as const;
export const KNOWN = { ...UNKNOWN, error: "fenced" } as const;

export const CREATE =
  "CREATE TABLE t(id INTEGER PRIMARY KEY, v); " +
  "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) INSERT INTO t(v) SELECT hex(randomblob(2000)) FROM n";
export const update = (id: number) => `UPDATE t SET v = hex(randomblob(2000)) WHERE id = ${id}`;

/**
 * Databases whose history nobody can know, or seems so, with each answer of `onUnknownLocal`. What holds for all: nothing
 * is written to the replica unless it is proven or the application decided, and never is anything there changed or lost.
 */
export function unknownHistorySuite(situations: Readonly<Record<string, Situation>>): void {
  describe.each(Object.entries(situations))("%s", (_, { outcomes, make }) => {
    test.each(Object.entries(outcomes))("%s: %s", async (answer, outcome) => {
      const place = await make();
      const before = {
        objects: await objectsOf(place.store),
        local: await place.local(),
        remote: await place.restored(place.store),
        replica: await copyOf(place.store),
      };
      const life = await place.open({ onUnknownLocal: answer as keyof typeof outcomes });
      await checks[outcome](place, life, before);
    });
  });
}

interface Before {
  readonly objects: Objects;
  readonly local: Uint8Array;
  readonly remote: Uint8Array;
  /** A copy of it. */
  readonly replica: ObjectStore;
}

const checks: Record<Outcome, (place: HistoryPlace, life: Life, before: Before) => Promise<void>> = {
  async refused(place, life, before) {
    await expect(life.start()).rejects.toMatchObject({ code: "SLUICE_UNKNOWN_LOCAL_HISTORY" });
    await life.stop();
    await expectSame(await place.local(), before.local);
    expect(await objectsOf(place.store)).toEqual(before.objects);
  },
  async fenced(place, life, before) {
    const fenced = life.next("fenced");
    await life.start();
    expect(await fenced).toMatchObject({ code: "SLUICE_FENCED" });
    await life.exec(update(5));
    await expect(life.flush()).rejects.toMatchObject({ code: "SLUICE_FENCED" });
    await life.stop();
    expect(await objectsOf(place.store)).toEqual(before.objects);
  },
  async appended(place, life, before) {
    const done = life.next<ResyncEvent>("resync", ({ phase }) => phase === "done");
    await expectUploaded(place, life, before);
    expect(await done).toMatchObject({ pages: differing(before.local, before.remote), whole: null });
  },
  async compared(place, life, before) {
    const done = life.next<ResyncEvent>("resync", ({ phase }) => phase === "done");
    await expectUploaded(place, life, before);
    expect(await done).toMatchObject({ pages: 1, whole: null });
  },
  async replaced(place, life, before) {
    await life.start();
    await life.flush();
    await life.stop();
    await expectSame(await place.local(), before.remote);
    expect(await objectsOf(place.store)).toEqual(before.objects);
  },
};

/** The replica ends with the local database as it was; its history stays, and leads to the same state as before. */
async function expectUploaded(
  place: HistoryPlace,
  life: Life,
  { objects, local, remote, replica }: Before,
): Promise<void> {
  await life.start();
  await life.waitUntilUploaded();
  await life.stop();
  expect(differing(local, remote)).toBeGreaterThan(0);
  await expectSame(await place.local(), local);
  await expectSame(await place.restored(place.store), local);
  expect(await objectsOf(place.store)).toMatchObject(objects);
  await expectSame(await place.restored(replica), remote);
}

async function expectSame(actual: Uint8Array, expected: Uint8Array): Promise<void> {
  expect(await hashOf(actual)).toBe(await hashOf(expected));
}

type Objects = Readonly<Record<string, string>>;

/** A hash of each object of a replica, by key, but for the summary that nothing depends on. */
export async function objectsOf(store: ObjectStore): Promise<Objects> {
  const objects: Record<string, string> = {};
  for await (const { key } of store.list(""))
    if (key !== "metadata.json") objects[key] = await hashOf(await bytesOf(store, key));
  return objects;
}

async function copyOf(store: ObjectStore): Promise<ObjectStore> {
  const copy = new MemoryStore();
  for await (const { key } of store.list("")) await copy.put(key, await bytesOf(store, key));
  return copy;
}

async function bytesOf(store: ObjectStore, key: string): Promise<Uint8Array> {
  return collect((await store.get(key)).body, MAX_OBJECT);
}

async function hashOf(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Runs, commits, and stops; uploads all of it or nothing. */
export async function produce(place: HistoryPlace, sql: string, uploads = true): Promise<void> {
  const life = await place.open(uploads ? {} : { stopTimeoutMs: 0 });
  await life.start();
  if (uploads) await life.snapshot();
  await life.exec(sql);
  if (uploads) await life.waitUntilUploaded();
  await life.stop();
}

/** Pages of `after` that are not the same in `before`. */
export function differing(after: Uint8Array, before: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < after.length; at += PAGE) {
    const page = before.subarray(at, at + PAGE);
    if (!after.subarray(at, at + PAGE).every((byte, i) => byte === page[i])) count += 1;
  }
  return count;
}
