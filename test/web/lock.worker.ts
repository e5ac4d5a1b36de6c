// Takes the lock of a pool when it is told to, and says how that went.
import { acquirePoolLock } from "../../web/lock.ts";

self.onmessage = async ({ data }: MessageEvent<{ directory: string; waitMs: number }>) => {
  try {
    await acquirePoolLock(data.directory, { waitMs: data.waitMs });
    postMessage("held");
  } catch (error) {
    postMessage((error as { code?: string }).code ?? String(error));
  }
};
