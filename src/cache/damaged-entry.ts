import { CacheError } from "../errors.ts";

/**
 * An entry of the write cache is not what was written, for good: bytes of it are missing, or others. Who uploads gives it up, and has
 * the database make up for it. What may pass (EIO, a connection that is lost) is a CacheError of the general kind, and is
 * tried again.
 */
export class DamagedEntryError extends CacheError {
  constructor(where: string, how: string, options?: ErrorOptions) {
    super(`${where} is damaged: ${how}. To restore without it, delete the write cache.`, false, options);
  }
}
