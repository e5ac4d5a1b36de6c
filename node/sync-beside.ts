import { open } from "node:fs/promises";

/**
 * Makes what was written to a file durable without holding up this thread, so that the sync that counts finds little left
 * to do: on a busy disk one takes tens of milliseconds.
 *
 * By a descriptor of its own, since the system tells each of them once of an error of the disk (fsync(2)): so the one that
 * counts is told too, and what fails here needs no mention.
 */
export async function syncBeside(path: string): Promise<void> {
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
