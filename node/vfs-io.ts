import { errorCode, resultOfWrite } from "./errno.ts";
import { fileKey } from "./file-key.ts";
import { type LockOutcome, NONE } from "./file-locks.ts";
import type { VfsFileSystem, VfsState } from "./vfs.ts";
import { syncParent, temporaryPath } from "./vfs-path.ts";
import { growAhead } from "./wal-ahead.ts";

/** sqlite3.h: SQLITE_IOCAP_SUBPAGE_READ, reads need not be whole pages. Not among the constants of sqlite-wasm. */
const IOCAP_SUBPAGE_READ = 0x8000;

/** What os_unix.c assumes of a disk (SQLITE_DEFAULT_SECTOR_SIZE). */
const SECTOR_SIZE = 4096;

/**
 * The methods of an open file. They find it by the handle behind pMethods, never by pMethods, so that a shim may put its
 * own table there. xRead, xWrite, xLock, xUnlock and xFileControl run many times in each commit: they allocate nothing.
 */
export function ioMethods(state: VfsState) {
  const { sqlite3, fs, heap, files, lockedFiles, locks, lastError } = state;
  const { capi } = sqlite3;
  const { SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_WRITE, SQLITE_IOERR_LOCK } = capi;
  const { SQLITE_FCNTL_LOCKSTATE, SQLITE_FCNTL_LAST_ERRNO, SQLITE_FCNTL_POWERSAFE_OVERWRITE } = capi;
  const { SQLITE_FCNTL_PERSIST_WAL, SQLITE_FCNTL_HAS_MOVED, SQLITE_FCNTL_VFSNAME } = capi;
  const { SQLITE_FCNTL_TEMPFILENAME, SQLITE_NOTFOUND } = capi;
  const rcOf: Record<LockOutcome, number> = {
    granted: 0,
    "busy-here": capi.SQLITE_BUSY,
    "busy-elsewhere": capi.SQLITE_BUSY,
    "read-only": capi.SQLITE_READONLY,
  };
  const handleOf = (pFile: number) => heap.words[(pFile >> 2) + 1]!;

  return {
    xClose(pFile: number): number {
      const handle = handleOf(pFile);
      const file = files[handle]!;
      const locked = lockedFiles[handle];
      files[handle] = undefined;
      lockedFiles[handle] = undefined;
      heap.words[pFile >> 2] = 0;
      try {
        // Before the lock goes, so that nobody else meets a descriptor of ours.
        fs.closeSync(file.fd);
      } catch (error) {
        lastError.record(error, 0); // the descriptor is gone either way (close(2)), and os_unix.c answers OK too
      }
      try {
        if (locked) locks.close(locked);
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_CLOSE);
      }
    },

    xRead(pFile: number, pTo: number, n: number, offset: bigint): number {
      const { bytes } = heap;
      let got: number;
      try {
        got = readFully(fs, files[handleOf(pFile)]!.fd, bytes, pTo, n, Number(offset));
      } catch (error) {
        return lastError.record(error, SQLITE_IOERR_READ);
      }
      if (got === n) return 0;
      bytes.fill(0, pTo + got, pTo + n); // SQLite relies on the zeros
      return SQLITE_IOERR_SHORT_READ;
    },

    xWrite(pFile: number, pFrom: number, n: number, offset: bigint): number {
      const file = files[handleOf(pFile)]!;
      const { fd } = file;
      const { bytes } = heap;
      const position = Number(offset);
      try {
        for (let done = 0; done < n; ) {
          const wrote = fs.writeSync(fd, bytes, pFrom + done, n - done, position + done);
          if (wrote === 0) return capi.SQLITE_FULL;
          done += wrote;
        }
        if (file.isWal && position + n > file.knownSize) growAhead(fs, file, position + n);
        return 0;
      } catch (error) {
        return lastError.record(error, resultOfWrite(error, SQLITE_IOERR_WRITE));
      }
    },

    xTruncate(pFile: number, size: bigint): number {
      try {
        fs.ftruncateSync(files[handleOf(pFile)]!.fd, Number(size));
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_TRUNCATE);
      }
    },

    /**
     * fdatasync for every flag, as os_unix.c on Linux: it includes the size of the file (fdatasync(2)), and the time stamps
     * that fsync adds are nothing that recovery reads. On macOS libuv makes it F_FULLFSYNC.
     */
    xSync(pFile: number, _flags: number): number {
      const file = files[handleOf(pFile)]!;
      try {
        fs.fdatasyncSync(file.fd);
        file.synced = true;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_FSYNC);
      }
      if (!file.parentUnsynced) return 0;
      try {
        syncParent(fs, file.path);
        file.parentUnsynced = false;
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_DIR_FSYNC);
      }
    },

    xFileSize(pFile: number, pSize: number): number {
      try {
        const { size } = fs.fstatSync(files[handleOf(pFile)]!.fd);
        const { words } = heap;
        words[pSize >> 2] = size; // modulo 2^32
        words[(pSize >> 2) + 1] = Math.floor(size / 2 ** 32);
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_FSTAT);
      }
    },

    xLock(pFile: number, level: number): number {
      const locked = lockedFiles[handleOf(pFile)];
      if (!locked) return 0; // only main databases are shared
      try {
        const outcome = locks.lock(locked, level);
        state.waitCanHelp = outcome === "busy-elsewhere";
        return rcOf[outcome];
      } catch (error) {
        return lastError.record(error, SQLITE_IOERR_LOCK);
      }
    },

    xUnlock(pFile: number, level: number): number {
      const locked = lockedFiles[handleOf(pFile)];
      if (!locked) return 0;
      try {
        locks.unlock(locked, level);
        return 0;
      } catch (error) {
        return lastError.record(error, capi.SQLITE_IOERR_UNLOCK);
      }
    },

    xCheckReservedLock(pFile: number, pOut: number): number {
      const locked = lockedFiles[handleOf(pFile)];
      heap.words[pOut >> 2] = locked && locks.isReserved(locked) ? 1 : 0;
      return 0;
    },

    /** What os_unix.c answers, without its hints for preallocation and mmap, which SQLite does without. */
    xFileControl(pFile: number, op: number, pArg: number): number {
      const handle = handleOf(pFile);
      const file = files[handle]!;
      const locked = lockedFiles[handle];
      const { words } = heap;
      const arg = pArg >> 2;
      switch (op) {
        case SQLITE_FCNTL_LOCKSTATE:
          words[arg] = locked?.level ?? NONE;
          return 0;
        case SQLITE_FCNTL_LAST_ERRNO:
          words[arg] = lastError.errno;
          return 0;
        // A negative argument asks, any other one sets.
        case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
          if (words[arg]! < 0) words[arg] = Number(file.powersafeOverwrite);
          else file.powersafeOverwrite = words[arg] !== 0;
          return 0;
        case SQLITE_FCNTL_PERSIST_WAL:
          if (words[arg]! < 0) words[arg] = Number(file.persistWal);
          else file.persistWal = words[arg] !== 0;
          return 0;
        // The pager asks before it writes: a database that was renamed or deleted must not get a journal elsewhere.
        case SQLITE_FCNTL_HAS_MOVED:
          words[arg] = locked && hasMoved(fs, file.path, locked.inode.key) ? 1 : 0;
          return 0;
        case SQLITE_FCNTL_VFSNAME:
          return answerString(pArg, state.name);
        case SQLITE_FCNTL_TEMPFILENAME:
          return answerString(pArg, temporaryPath());
        default:
          return SQLITE_NOTFOUND;
      }
    },

    xSectorSize: (_pFile: number): number => SECTOR_SIZE,

    /** POWERSAFE_OVERWRITE as os_unix.c has it by default; `?psow=0` in a URI takes it away. */
    xDeviceCharacteristics(pFile: number): number {
      const psow = files[handleOf(pFile)]!.powersafeOverwrite;
      return psow ? IOCAP_SUBPAGE_READ | capi.SQLITE_IOCAP_POWERSAFE_OVERWRITE : IOCAP_SUBPAGE_READ;
    },
  };

  /** The caller frees it with sqlite3_free; wasm.allocCString allocates with sqlite3_malloc. */
  function answerString(pArg: number, text: string): number {
    try {
      const pointer = sqlite3.wasm.allocCString(text, false);
      heap.words[pArg >> 2] = pointer;
      return 0;
    } catch (error) {
      return lastError.record(error, capi.SQLITE_NOMEM);
    }
  }
}

/** Reads until `n` bytes are there or the file ends. */
function readFully(
  fs: VfsFileSystem,
  fd: number,
  to: Uint8Array,
  at: number,
  n: number,
  position: number,
): number {
  let done = 0;
  while (done < n) {
    const got = readOnce(fs, fd, to, at + done, n - done, position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}

/** libuv repeats every call that a signal interrupts, except read. */
function readOnce(
  fs: VfsFileSystem,
  fd: number,
  to: Uint8Array,
  at: number,
  n: number,
  position: number,
): number {
  for (;;) {
    try {
      return fs.readSync(fd, to, at, n, position);
    } catch (error) {
      if (errorCode(error) !== "EINTR") throw error;
    }
  }
}

function hasMoved(fs: VfsFileSystem, path: string, key: string): boolean {
  try {
    const stat = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
    return stat === undefined || fileKey(stat) !== key;
  } catch {
    return true; // stat failed, as in fileHasMoved() of os_unix.c
  }
}
