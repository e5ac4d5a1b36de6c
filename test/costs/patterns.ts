import { Random } from "../replicator/random.ts";
import type { Pattern } from "./simulate.ts";

const PAGE_SIZE = 4096;

/** A table that is appended to, and its index with random keys, which is a quarter of the database. */
function pattern(
  name: string,
  pages: number,
  everySecs: number,
  uploads: number,
  commitsAnUpload: number,
  snapshotEverySecs = 3600,
): Pattern {
  const indexPages = Math.ceil(pages / 4);
  const perUpload = { index: commitsAnUpload, indexPages, appended: commitsAnUpload / 10 };
  return {
    name,
    pageSize: PAGE_SIZE,
    pages,
    pagesAtFirst: pages,
    everySecs,
    uploads,
    perUpload,
    snapshotEverySecs,
  };
}

/** Of a day each. 25,600 pages are 100 MB. */
export const patterns: readonly Pattern[] = [
  pattern("idle", 2560, 1, 0, 0),
  pattern("one commit a minute, 10 MB", 2560, 60, 1440, 1),
  pattern("10 commits a second for 8 h, 100 MB", 25_600, 1, 28_800, 10),
  {
    // A segment a second, and the snapshot that they outweigh.
    name: "a bulk load of 1 GB in 20 s",
    pageSize: PAGE_SIZE,
    pages: 262_144,
    pagesAtFirst: 2,
    everySecs: 1,
    uploads: 20,
    perUpload: { index: 1, indexPages: 1, appended: 13_107 },
    snapshotEverySecs: 20,
  },
  pattern("a browser's user, 8 h, an upload in 10 s, 10 MB", 2560, 10, 2880, 5, 0),
];

/**
 * One user of a browser app with a day of eight hours, who is not like the others: works for some time, then does something
 * else, and has a database of 1 to 20 MB.
 */
export function browserUser(seed: number): Pattern {
  const random = new Random(seed);
  const between = (least: number, most: number) => least + random.below(most - least + 1);
  const everySecs = 10;
  const pages = between(256, 5120);
  const day = pattern("", pages, everySecs, (8 * 3600) / everySecs, between(1, 10), 0);
  const workSecs = between(60, 1800);
  return { ...day, pauses: { chance: everySecs / workSecs, meanSecs: between(60, 3600) } };
}
