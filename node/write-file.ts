import type { FileHandle } from "node:fs/promises";
import { io } from "./store-errors.ts";

/** Bytes written between two looks at the signal. */
const WRITE_BYTES = 1 << 20;
/**
 * Bytes written between two syncs in the background. One sync of everything at the end holds up whoever else syncs on that
 * disk, as each commit of the application does, until the last of it is written.
 */
const SYNC_BYTES = 8 << 20;

/** Writes an object's bytes into its file and makes them durable. Throws StoreError, or the signal's reason. */
export async function writeFile(
  handle: FileHandle,
  key: string,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<void> {
  let unsynced = 0;
  let syncing: Promise<void> | null = null;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const length = Math.min(WRITE_BYTES, chunk.length - at);
      const { bytesWritten } = await io(key, handle.write(chunk, at, length));
      signal?.throwIfAborted();
      at += bytesWritten;
      unsynced += bytesWritten;
    }
    if (unsynced < SYNC_BYTES) continue;
    await syncing;
    unsynced = 0;
    syncing = io(key, handle.datasync());
    syncing.catch(() => undefined); // told by the next sync, or here at the end
  }
  await syncing;
  await io(key, handle.sync());
}
