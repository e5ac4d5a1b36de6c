import type { CAPI } from "@sqlite.org/sqlite-wasm";
import { errorCode, isRefusal } from "./errno.ts";
import type { VfsFileSystem } from "./vfs.ts";
import { temporaryPath } from "./vfs-path.ts";

/** A file that SQLite has open. The class gives every one the same shape, which the hot methods profit from. */
export class OpenFile {
  /** Bits that SQLite sets and asks for through xFileControl. */
  powersafeOverwrite = true;
  persistWal = false;
  /** Of a WAL: synced since the last write that made it longer. */
  synced = false;
  /** Of a WAL: no write up to here makes it longer, unless another handle has cut it. */
  knownSize = 0;
  constructor(
    readonly fd: number,
    readonly path: string,
    /** SQLITE_OPEN_* as it was really opened. */
    readonly flags: number,
    /** The entry in the folder may not be durable yet: sync the folder with the first sync of the file. */
    public parentUnsynced: boolean,
    readonly isWal: boolean,
  ) {}
}

/** What xOpen answers when it cannot open the file. */
export class OpenError extends Error {
  constructor(
    readonly resultCode: number,
    cause: unknown,
  ) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/**
 * Opens a file as unixOpen does. Without a name it is a temporary file, and unlinked before this returns, so that no
 * crash leaves it behind. Read-write falls back to read-only where the system refuses to write, and the flags say so.
 * @throws OpenError
 */
export function openFile(fs: VfsFileSystem, capi: CAPI, name: string | null, flags: number): OpenFile {
  const path = name ?? temporaryPath();
  const create = (flags & capi.SQLITE_OPEN_CREATE) !== 0;
  const { mode, owner } = modeFor(fs, capi, path, flags);
  const journal = capi.SQLITE_OPEN_MAIN_JOURNAL | capi.SQLITE_OPEN_SUPER_JOURNAL | capi.SQLITE_OPEN_WAL;
  const { fd, flags: opened } = openDescriptor(fs, capi, path, flags, mode, (flags & journal) !== 0);
  try {
    if (owner) giveToOwner(fs, fd, mode, owner);
    if (flags & capi.SQLITE_OPEN_DELETEONCLOSE) fs.unlinkSync(path);
  } catch (error) {
    fs.closeSync(fd);
    throw new OpenError(capi.SQLITE_CANTOPEN, error);
  }
  const parentUnsynced = create && (flags & (journal | capi.SQLITE_OPEN_MAIN_DB)) !== 0;
  return new OpenFile(fd, path, opened, parentUnsynced, (flags & capi.SQLITE_OPEN_WAL) !== 0);
}

function openDescriptor(
  fs: VfsFileSystem,
  capi: CAPI,
  path: string,
  flags: number,
  mode: number,
  isJournal: boolean,
): { fd: number; flags: number } {
  const { O_RDWR, O_RDONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = fs.constants;
  const create = (flags & capi.SQLITE_OPEN_CREATE) !== 0;
  const readWrite = (flags & capi.SQLITE_OPEN_READWRITE) !== 0;
  const exclusive = (flags & capi.SQLITE_OPEN_EXCLUSIVE) !== 0;
  try {
    const how =
      (readWrite ? O_RDWR : O_RDONLY) | (create ? O_CREAT : 0) | (exclusive ? O_EXCL : 0) | O_NOFOLLOW;
    return { fd: fs.openSync(path, how, mode), flags };
  } catch (error) {
    if (errorCode(error) === "EISDIR") throw new OpenError(capi.SQLITE_CANTOPEN_ISDIR, error);
    if (!readWrite || !isRefusal(error)) throw new OpenError(capi.SQLITE_CANTOPEN, error);
    // A journal that cannot be made because the folder is closed to us: say that it is the folder.
    if (isJournal && create && errorCode(error) === "EACCES" && !fs.statSync(path, { throwIfNoEntry: false }))
      throw new OpenError(capi.SQLITE_READONLY_DIRECTORY, error);
    try {
      const readOnly = flags & ~(capi.SQLITE_OPEN_READWRITE | capi.SQLITE_OPEN_CREATE);
      return { fd: fs.openSync(path, O_RDONLY | O_NOFOLLOW), flags: readOnly | capi.SQLITE_OPEN_READONLY };
    } catch {
      throw new OpenError(capi.SQLITE_CANTOPEN, error);
    }
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** 0644 for databases; a rollback journal and a WAL inherit mode and owner from theirs, or others could not recover it. */
function modeFor(
  fs: VfsFileSystem,
  capi: CAPI,
  path: string,
  flags: number,
): { mode: number; owner?: Owner } {
  if (flags & (capi.SQLITE_OPEN_WAL | capi.SQLITE_OPEN_MAIN_JOURNAL)) {
    const database = /^(.*)-[^-.]*$/s.exec(path)?.[1];
    if (!database) return { mode: 0o644 };
    try {
      const { mode, uid, gid } = fs.statSync(database);
      return { mode: mode & 0o777, owner: { uid, gid } };
    } catch (error) {
      throw new OpenError(capi.SQLITE_IOERR_FSTAT, error);
    }
  }
  return { mode: flags & capi.SQLITE_OPEN_DELETEONCLOSE ? 0o600 : 0o644 };
}

/** The umask took bits from a new file, and root made it root's. Best effort, as in os_unix.c: it may not be ours. */
function giveToOwner(fs: VfsFileSystem, fd: number, mode: number, owner: Owner): void {
  const stat = fs.fstatSync(fd);
  try {
    if (stat.size === 0 && (stat.mode & 0o777) !== mode) fs.fchmodSync(fd, mode);
    if (process.geteuid?.() === 0 && (stat.uid !== owner.uid || stat.gid !== owner.gid))
      fs.fchownSync(fd, owner.uid, owner.gid);
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}
