/** SQLite result codes that callers switch on (sqlite3.h); extended codes are the primary one plus 256 times a number. */
const SQLITE_FULL = 13;

/** The last system error of a VFS: what xGetLastError and SQLITE_FCNTL_LAST_ERRNO answer. */
export class LastError {
  errno = 0;
  message = "";

  /** Records what was thrown and hands back the result code, so that a method can return in one expression. */
  record(error: unknown, resultCode: number): number {
    this.errno = Math.abs((error as NodeJS.ErrnoException)?.errno ?? 0);
    this.message = error instanceof Error ? error.message : String(error);
    return resultCode;
  }
}

export function errorCode(error: unknown): string {
  return (error as NodeJS.ErrnoException)?.code ?? "";
}

/** No room, whether of the device, the quota or the file's size limit: SQLite rolls back and tells the user so. */
export function resultOfWrite(error: unknown, otherwise: number): number {
  const code = errorCode(error);
  return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG" ? SQLITE_FULL : otherwise;
}

/** The system refuses to write to this file, and might still let us read it. */
export function isRefusal(error: unknown): boolean {
  const code = errorCode(error);
  return code === "EACCES" || code === "EPERM" || code === "EROFS";
}
