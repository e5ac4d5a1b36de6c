import type { CacheAppend } from "./cache/write-cache.ts";

/** A merge that somebody may need to give up, at any moment, since it holds the cache open. */
export class Interruption {
  #append: CacheAppend | null = null;
  #given = false;

  get given(): boolean {
    return this.#given;
  }

  give(): void {
    this.#given = true;
    this.#append?.abort();
  }

  watch(append: CacheAppend): CacheAppend {
    this.#append = append;
    return append;
  }
}
