import type * as nodeFs from "node:fs/promises";
import { dirname } from "node:path";
import { StoreError } from "../src/errors.ts";
import { isErrno, toStoreError } from "./store-errors.ts";

/** Each round, another process must have removed the folder again between our making it and our using it. */
const ROUNDS = 100;

/**
 * The folders of a directory store: made when they are needed, removed when they are empty, while other processes do the same.
 * `key` is the object that it is for, named by what is thrown: StoreError.
 */
export class StoreFolders {
  readonly #root: string;
  readonly #fs: Pick<typeof nodeFs, "open" | "mkdir" | "rmdir">;
  /** Folders whose place in their parents this instance has made durable. */
  readonly #durable = new Set<string>();

  constructor(root: string, fs: Pick<typeof nodeFs, "open" | "mkdir" | "rmdir">) {
    this.#root = root;
    this.#fs = fs;
  }

  /** Does what needs `folder`; makes the folder where it is missing, also when a delete takes it away in between. */
  async within<T>(key: string, folder: string, act: () => Promise<T>): Promise<T> {
    for (let round = 0; round < ROUNDS; round++) {
      try {
        return await act();
      } catch (error) {
        if (!isErrno(error, "ENOENT")) throw toStoreError(key, error);
      }
      await this.#make(key, folder);
    }
    throw new StoreError("unavailable", `${folder} is removed as often as it is made`, { key });
  }

  async #make(key: string, folder: string): Promise<void> {
    let first: string | undefined;
    try {
      first = await this.#fs.mkdir(folder, { recursive: true });
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      throw toStoreError(key, error);
    }
    if (first === undefined) return;
    for (let at = folder; ; at = dirname(at)) {
      await this.#sync(key, dirname(at));
      if (at === first || at === dirname(at)) return;
    }
  }

  /** What is in `folder` now stays there. */
  async makeDurable(key: string, folder: string): Promise<void> {
    await this.#sync(key, folder);
    if (this.#durable.has(folder)) return;
    // Another process may have made these folders and not yet synced them.
    for (let at = folder; at !== this.#root; at = dirname(at)) await this.#sync(key, dirname(at));
    this.#durable.add(folder);
  }

  /** Removes `folder` and those above it while they are empty, and makes that durable. True where only the root is left. */
  async prune(key: string, folder: string): Promise<boolean> {
    let at = folder;
    while (at !== this.#root) {
      this.#durable.delete(at);
      try {
        await this.#fs.rmdir(at);
      } catch {
        break;
      }
      at = dirname(at);
    }
    await this.#sync(key, at);
    return at === this.#root;
  }

  /** A folder that is gone needs no sync: whoever needs it makes it again. Windows cannot sync folders. */
  async #sync(key: string, folder: string): Promise<void> {
    if (process.platform === "win32") return;
    try {
      const handle = await this.#fs.open(folder, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw toStoreError(key, error);
    }
  }
}
