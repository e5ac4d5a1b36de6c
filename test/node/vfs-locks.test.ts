import fs from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { fileKey } from "../../node/file-key.ts";
import {
  EXCLUSIVE,
  FileLocks,
  type LockedFile,
  NONE,
  PENDING,
  RESERVED,
  SHARED,
} from "../../node/file-locks.ts";
import { temporaryFolder } from "./vfs-fixture.ts";

/** A step: which file, up (lock) or down (unlock) to which level, and what must come of it. */
type Step = readonly [file: number, level: number, levels: readonly [number, number, number]];
const refused = (...levels: [number, number, number]) => levels;

/** The levels after each step say it all: a granted lock shows in them, a refused one leaves them as they were. */
const cases: readonly { name: string; steps: readonly Step[] }[] = [
  {
    name: "many readers",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [2, SHARED, [1, 1, 1]],
    ],
  },
  {
    name: "one writer beside readers",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [1, RESERVED, refused(2, 1, 0)],
      [1, EXCLUSIVE, refused(2, 1, 0)],
      [2, SHARED, [2, 1, 1]],
      [0, SHARED, [1, 1, 1]],
      [2, RESERVED, [1, 1, 2]],
    ],
  },
  {
    name: "a writer that waits lets no new reader in and is not starved",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [0, EXCLUSIVE, refused(3, 1, 0)],
      [2, SHARED, refused(3, 1, 0)],
      [1, RESERVED, refused(3, 1, 0)],
      [1, NONE, [3, 0, 0]],
      [1, SHARED, refused(3, 0, 0)],
      [0, EXCLUSIVE, [4, 0, 0]],
      [1, SHARED, refused(4, 0, 0)],
      [0, NONE, [0, 0, 0]],
      [1, SHARED, [0, 1, 0]],
    ],
  },
  {
    name: "a waiting writer may give up",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [0, EXCLUSIVE, refused(3, 1, 0)],
      [0, SHARED, [1, 1, 0]],
      [2, SHARED, [1, 1, 1]],
      [1, RESERVED, [1, 2, 1]],
    ],
  },
  {
    name: "rolling a hot journal back goes from SHARED to EXCLUSIVE, or stays at SHARED",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, EXCLUSIVE, refused(1, 1, 0)],
      [2, SHARED, [1, 1, 1]],
      [1, NONE, [1, 0, 1]],
      [2, NONE, [1, 0, 0]],
      [0, EXCLUSIVE, [4, 0, 0]],
      [1, SHARED, refused(4, 0, 0)],
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
    ],
  },
  {
    name: "asking for what is held changes nothing",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [0, RESERVED, [2, 0, 0]],
      [0, SHARED, [1, 0, 0]],
      [0, SHARED, [1, 0, 0]],
      [0, NONE, [0, 0, 0]],
      [0, NONE, [0, 0, 0]],
    ],
  },
];

function threeFiles(): { locks: FileLocks; files: LockedFile[] } {
  const path = join(temporaryFolder(), "a.db");
  fs.writeFileSync(path, "");
  const locks = new FileLocks({});
  const files = [0, 1, 2].map(() => locks.open(path, fileKey(fs.statSync(path, { bigint: true }))));
  onTestFinished(() => files.forEach((file) => void locks.close(file)));
  return { locks, files };
}

test.each(cases)("$name", ({ steps }) => {
  const { locks, files } = threeFiles();
  steps.forEach(([index, level, expected], number) => {
    const file = files[index]!;
    const before = file.level;
    if (level < before) locks.unlock(file, level);
    else {
      const granted = expected[index] === level;
      expect(locks.lock(file, level), `step ${number}`).toBe(granted ? "granted" : "busy-here");
    }
    expect(
      files.map((each) => each.level),
      `step ${number}`,
    ).toEqual(expected);
    const writer = files.some((each) => each.level > SHARED);
    expect(files.map((each) => locks.isReserved(each))).toEqual([writer, writer, writer]);
  });
});

test("closing gives back what the file held", () => {
  const { locks, files } = threeFiles();
  locks.lock(files[0]!, SHARED);
  locks.lock(files[0]!, RESERVED);
  locks.lock(files[0]!, EXCLUSIVE);
  locks.close(files[0]!);
  expect(locks.lock(files[1]!, SHARED)).toBe("granted");
  files[0] = locks.open(files[1]!.path, files[1]!.inode.key);
});

test("SQLite's own mistakes are refused loudly", () => {
  const { locks, files } = threeFiles();
  expect(() => locks.lock(files[0]!, RESERVED)).toThrow();
  locks.lock(files[0]!, SHARED);
  expect(() => locks.lock(files[0]!, PENDING)).toThrow();
});
