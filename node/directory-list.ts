import type * as nodeFs from "node:fs/promises";
import { join } from "node:path";
import { compareKeys, type ObjectInfo } from "../src/store/object-store.ts";
import { isErrno, toStoreError } from "./store-errors.ts";

/** Files asked for their size and time at once. */
const STAT_BATCH = 32;

export interface Walk {
  readonly fs: Pick<typeof nodeFs, "opendir" | "stat">;
  readonly root: string;
  /** Name of the directories that hold no objects. */
  readonly hidden: string;
  readonly prefix: string;
  readonly startAfter: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * The objects under `folder` ("" or with a slash behind) in order of their keys. Holds the names of one directory for
 * each level it is in; directories that sort wholly before `startAfter` or outside `prefix` are not entered.
 */
export async function* walk(walking: Walk, folder: string): AsyncGenerator<ObjectInfo, void, undefined> {
  const names = await namesIn(walking, folder);
  for (let i = 0; i < names.length; i += STAT_BATCH) {
    const batch = names.slice(i, i + STAT_BATCH);
    walking.signal?.throwIfAborted();
    const infos = await Promise.all(
      batch.map((name) => (name.endsWith("/") ? null : infoOf(walking, folder + name))),
    );
    for (const [j, info] of infos.entries()) {
      walking.signal?.throwIfAborted();
      if (info !== null) yield info;
      else if (batch[j]!.endsWith("/")) yield* walk(walking, folder + batch[j]!);
    }
  }
}

/** What of `folder` can matter, sorted; directories with a slash behind, by which they sort as their keys do. */
async function namesIn(
  { fs, root, hidden, prefix, startAfter, signal }: Walk,
  folder: string,
): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of await fs.opendir(join(root, folder))) {
      signal?.throwIfAborted();
      if (entry.isFile()) {
        const key = folder + entry.name;
        if (key.startsWith(prefix) && compareKeys(key, startAfter) > 0) names.push(entry.name);
      } else if (entry.isDirectory() && entry.name !== hidden) {
        const within = `${folder}${entry.name}/`;
        const after = compareKeys(within, startAfter) > 0 || startAfter.startsWith(within);
        if (after && within.startsWith(prefix)) names.push(`${entry.name}/`);
      }
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (!isErrno(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG")) throw toStoreError(folder, error);
  }
  return names.sort(compareKeys);
}

async function infoOf({ fs, root }: Walk, key: string): Promise<ObjectInfo | null> {
  try {
    const stats = await fs.stat(join(root, key));
    const lastModified = Math.floor(stats.mtimeMs);
    return { key, size: stats.size, lastModified, age: Math.max(0, Date.now() - lastModified) };
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    throw toStoreError(key, error);
  }
}
