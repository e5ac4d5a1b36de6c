import { open } from "node:fs/promises";

/**
 * Milliseconds until the caller does without: longer than a busy disk takes. Node's threads for files, four of them, may all be
 * held up by something else, a store on a network or the application, and nothing may stay uncached for that.
 */
const LONGEST_MS = 2000;

/**
 * Makes what was written to a file durable without holding up this thread, so that the sync that counts finds little left
 * to do: on a busy disk one takes tens of milliseconds.
 *
 * By a descriptor of its own, since the system tells each of them once of an error of the disk (fsync(2)): so the one that
 * counts is told too, and what fails here needs no mention.
 */
export function syncBeside(path: string): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, LONGEST_MS);
    void sync(path).then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

async function sync(path: string): Promise<void> {
  try {
    const file = await open(path, "r+");
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
  } catch {
    // Also where the file is gone: somebody else has finished with it.
  }
}
