import { randomUUID } from "node:crypto";
import type { BigIntStats } from "node:fs";
import * as nodeFs from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigError, StoreError } from "../src/errors.ts";
import {
  checkKey,
  chunksOf,
  type GetOptions,
  type GetResult,
  type ListOptions,
  type ObjectInfo,
  type ObjectStore,
  type PutBody,
  type PutOptions,
  resolveRange,
  type StoreCapabilities,
  type StoreOptions,
} from "../src/store/object-store.ts";
import { walk } from "./directory-list.ts";
import { FileBody } from "./file-body.ts";
import { alreadyThere, io, isErrno, isFolder, notFound, toStoreError } from "./store-errors.ts";
import { StoreFolders } from "./store-folders.ts";
import { writeFile } from "./write-file.ts";

/** What the store asks of `node:fs/promises`; tests put failing ones here. */
export type DirectoryFs = Pick<
  typeof nodeFs,
  "open" | "link" | "rename" | "unlink" | "mkdir" | "rmdir" | "stat" | "opendir"
>;

/** Unfinished objects wait here, on the file system of the finished ones. No segment of a key may have this name. */
const TEMP_FOLDER = ".sluice-tmp";
/**
 * A temporary file that nobody wrote to for an hour was left by a crash. Should its writer be only asleep, it finds the
 * file gone when it finishes, and fails with a transient error.
 */
const STALE_MS = 3_600_000;
/** What `link` says where the file system has no hard links. */
const NO_HARD_LINKS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"];

/**
 * Objects as files under a directory, `file:///path`: one file an object, at the path that its key says. An object is
 * written to a temporary file, synced, and then linked or renamed into place, so that no reader and no crash ever meets
 * half of one. Several processes may use one directory.
 *
 * An object cannot be at a key that is also the folder of another ("invalid-request"). On a file system that ignores
 * case, keys that differ only in case are one object; Sluice's own keys are all lower case. Symbolic links inside are
 * not listed.
 */
export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly #root: string;
  readonly #temp: string;
  readonly #fs: DirectoryFs;
  readonly #folders: StoreFolders;
  #dropped: Promise<void> | undefined;
  #capabilities: StoreCapabilities | undefined;

  /** Touches nothing: the directory is made by the first put. Throws ConfigError for anything but `file:///path`. */
  constructor(url: string | URL, fs: DirectoryFs = nodeFs) {
    this.#root = directoryOf(String(url));
    this.#temp = join(this.#root, TEMP_FOLDER);
    this.url = pathToFileURL(this.#root).href;
    this.#fs = fs;
    this.#folders = new StoreFolders(this.#root, fs);
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    const path = this.#path(key);
    options.signal?.throwIfAborted();
    const create = options.ifNoneMatch === "*";
    // Spares writing the bytes; it is the link that decides.
    if (create && (await this.#exists(key, path))) throw alreadyThere(key);
    await this.#write(key, path, chunksOf(body, options.signal), create, options.signal);
  }

  async putStream(key: string, body: AsyncIterable<Uint8Array>, options: StoreOptions = {}): Promise<void> {
    const path = this.#path(key);
    options.signal?.throwIfAborted();
    await this.#write(key, path, chunksOf(body, options.signal), false, options.signal);
  }

  async get(key: string, options: GetOptions = {}): Promise<GetResult> {
    const path = this.#path(key);
    const { signal } = options;
    signal?.throwIfAborted();
    const handle = await this.#fs.open(path, "r").catch((error: unknown) => {
      // A folder on the way that is a file: no such key either.
      throw isErrno(error, "ENOTDIR") ? notFound(key, error) : toStoreError(key, error);
    });
    let body: FileBody | undefined;
    try {
      const stats = await io(key, handle.stat({ bigint: true }));
      if (!stats.isFile()) throw notFound(key);
      const size = Number(stats.size);
      const etag = etagOf(stats);
      if (options.ifMatch !== undefined && options.ifMatch !== etag) {
        throw new StoreError("precondition-failed", `${key} is another version by now`, { key });
      }
      const { offset, length } = resolveRange(options.range, size, key);
      signal?.throwIfAborted();
      if (length > 0) body = new FileBody(handle, key, offset, length, signal, options.into);
      return { size, etag, body: body ?? nothing() };
    } finally {
      if (body === undefined) await handle.close();
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo, void, undefined> {
    options.signal?.throwIfAborted();
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    // No key has such a prefix, and no path may be made of it.
    if (folder !== "" && !isKey(folder.slice(0, -1))) return;
    yield* walk(
      {
        fs: this.#fs,
        root: this.#root,
        hidden: TEMP_FOLDER,
        prefix,
        startAfter: options.startAfter ?? "",
        signal: options.signal,
      },
      folder,
    );
  }

  async delete(keys: readonly string[], options: StoreOptions = {}): Promise<void> {
    const paths = keys.map((key) => this.#path(key));
    const folders = new Map<string, string>();
    let failure: StoreError | undefined;
    for (const [i, path] of paths.entries()) {
      options.signal?.throwIfAborted();
      const key = keys[i]!;
      try {
        await this.#fs.unlink(path);
        folders.set(dirname(path), key);
      } catch (error) {
        if (isErrno(error, "ENOENT", "ENOTDIR", "EISDIR")) continue;
        // What unlink says of a directory, where it does not say EISDIR.
        if (isErrno(error, "EPERM") && (await this.#isDirectory(path))) continue;
        failure ??= toStoreError(key, error);
      }
    }
    for (const [folder, key] of folders) {
      // The last folder is gone perhaps: then so is ours. It is made again when needed.
      if (await this.#folders.prune(key, folder)) await this.#fs.rmdir(this.#temp).catch(() => undefined);
    }
    if (failure !== undefined) throw failure;
  }

  /** Tries a hard link, once. */
  async capabilities(options: StoreOptions = {}): Promise<StoreCapabilities> {
    options.signal?.throwIfAborted();
    if (this.#capabilities !== undefined) return this.#capabilities;
    const temp = await this.#openTemp("");
    await temp.handle.close();
    const second = join(this.#temp, randomUUID());
    try {
      await this.#fs.link(temp.path, second);
      this.#capabilities = { conditionalCreate: "atomic" };
    } catch (error) {
      if (!isErrno(error, ...NO_HARD_LINKS)) throw toStoreError("", error);
      this.#capabilities = { conditionalCreate: "none" };
    } finally {
      await this.#forget(second);
      await this.#forget(temp.path);
    }
    return this.#capabilities;
  }

  #path(key: string): string {
    checkKey(key);
    if (!isKey(key))
      throw new StoreError("invalid-request", `${JSON.stringify(key)} cannot be a file here`, { key });
    return join(this.#root, ...key.split("/"));
  }

  async #write(
    key: string,
    path: string,
    chunks: AsyncIterable<Uint8Array>,
    create: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const temp = await this.#openTemp(key);
    try {
      try {
        await writeFile(temp.handle, key, chunks, signal);
      } finally {
        await io(key, temp.handle.close());
      }
      signal?.throwIfAborted();
      await this.#publish(key, temp.path, path, create);
    } finally {
      await this.#forget(temp.path);
    }
  }

  async #openTemp(key: string): Promise<{ handle: nodeFs.FileHandle; path: string }> {
    const path = join(this.#temp, randomUUID());
    const handle = await this.#folders.within(key, this.#temp, () => this.#fs.open(path, "wx"));
    this.#dropped ??= this.#dropStale(path).catch(() => undefined);
    await this.#dropped;
    return { handle, path };
  }

  /** Takes the age from a new file's time: the file system's clock may be another machine's. */
  async #dropStale(fresh: string): Promise<void> {
    const now = (await this.#fs.stat(fresh)).mtimeMs;
    for await (const { name } of await this.#fs.opendir(this.#temp)) {
      const path = join(this.#temp, name);
      const stats = await this.#fs.stat(path).catch(() => undefined);
      if (stats !== undefined && now - stats.mtimeMs > STALE_MS) await this.#forget(path);
    }
  }

  async #publish(key: string, temp: string, path: string, create: boolean): Promise<void> {
    const folder = dirname(path);
    await this.#folders.within(key, folder, async () => {
      // A missing folder can be made again, a missing temporary file cannot.
      await this.#fs.stat(temp).catch((error: unknown) => {
        throw new StoreError(
          "unavailable",
          `${key}: its temporary file was removed`,
          { key },
          { cause: error },
        );
      });
      await (create ? this.#create(key, temp, path) : this.#fs.rename(temp, path));
    });
    await this.#folders.makeDurable(key, folder);
  }

  async #create(key: string, temp: string, path: string): Promise<void> {
    try {
      await this.#fs.link(temp, path);
    } catch (error) {
      if (isErrno(error, "EEXIST")) {
        if (await this.#isDirectory(path)) throw isFolder(key, error);
        throw alreadyThere(key, error);
      }
      if (!isErrno(error, ...NO_HARD_LINKS)) throw error;
      // As `capabilities` says: a check, then a put.
      if (await this.#exists(key, path)) throw alreadyThere(key);
      await this.#fs.rename(temp, path);
    }
  }

  async #exists(key: string, path: string): Promise<boolean> {
    try {
      if ((await this.#fs.stat(path)).isDirectory()) throw isFolder(key);
      return true;
    } catch (error) {
      if (isErrno(error, "ENOENT")) return false;
      throw toStoreError(key, error);
    }
  }

  async #isDirectory(path: string): Promise<boolean> {
    return this.#fs.stat(path).then(
      (stats) => stats.isDirectory(),
      () => false,
    );
  }

  /** A temporary file that cannot be removed is removed when it is stale. */
  async #forget(temp: string): Promise<void> {
    await this.#fs.unlink(temp).catch(() => undefined);
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}

function directoryOf(url: string): string {
  const wrong = `${JSON.stringify(url)} is not a directory. Write file:///absolute/path.`;
  // Without any path it would be the root of all: what is left where a variable was empty.
  if (!/^file:\/\/[^/]*\/[^?#]*$/.test(url)) throw new ConfigError("replica", wrong);
  try {
    const path = fileURLToPath(url);
    return dirname(path) === path ? path : join(dirname(path), basename(path));
  } catch {
    throw new ConfigError("replica", wrong);
  }
}

/** Whether a file can have this key as its path, apart from the length of names. */
function isKey(key: string): boolean {
  try {
    checkKey(key);
  } catch {
    return false;
  }
  // Windows: separators, devices and streams, and names that it would cut.
  if (process.platform === "win32" && /[\\:*?"<>|]|[. ](?=\/|$)/.test(key)) return false;
  return !key.split("/").includes(TEMP_FOLDER);
}

/**
 * A replaced object is another inode while the old one is there, so its number differs; an inode used again later differs
 * in its times. Not ctime: it changes when the temporary name of a created object goes.
 */
function etagOf(stats: BigIntStats): string {
  const parts = [stats.ino, stats.mtimeNs, stats.birthtimeNs, stats.size];
  return `"${parts.map((part) => part.toString(36)).join("-")}"`;
}
