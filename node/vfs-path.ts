import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { isAbsolute, join, parse, sep } from "node:path";
import { errorCode } from "./errno.ts";
import type { VfsFileSystem } from "./vfs.ts";

/** os_unix.c: SQLITE_MAX_SYMLINK. */
const MAX_SYMLINKS = 200;

/**
 * The absolute name of a file with every symbolic link in it resolved, so that the journal is looked for beside the real
 * file whatever name it was opened by. The file, and folders of it, need not exist. Element by element, as os_unix.c does
 * it, because `..` after a link means the parent of the link's target, and a link may point to a file not made yet.
 * @throws NodeJS.ErrnoException a folder cannot be looked into, or the links go round in circles.
 */
export function resolveSymlinks(fs: VfsFileSystem, path: string): { path: string; symlink: boolean } {
  const separators = sep === "/" ? /\/+/ : /[\\/]+/;
  const absolute = isAbsolute(path) ? path : join(process.cwd(), sep) + path;
  const { root } = parse(absolute);
  const pending = absolute.slice(root.length).split(separators).reverse();
  const parts: string[] = [];
  let symlinks = 0;
  for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      parts.pop();
      continue;
    }
    parts.push(part);
    const soFar = root + parts.join(sep);
    if (!fs.lstatSync(soFar, { throwIfNoEntry: false })?.isSymbolicLink()) continue;
    if (++symlinks > MAX_SYMLINKS) throw Object.assign(new Error(`ELOOP: ${path}`), { code: "ELOOP" });
    const target = fs.readlinkSync(soFar);
    if (isAbsolute(target)) parts.length = 0;
    else parts.pop();
    pending.push(
      ...target
        .slice(isAbsolute(target) ? root.length : 0)
        .split(separators)
        .reverse(),
    );
  }
  return { path: root + parts.join(sep), symlink: symlinks > 0 };
}

/** A name for a temporary file that nobody else will guess or has taken. SQLITE_TMPDIR comes first, as in os_unix.c. */
export function temporaryPath(): string {
  return join(process.env.SQLITE_TMPDIR ?? tmpdir(), `sluice-${randomBytes(16).toString("hex")}`);
}

/**
 * Makes the entries of the folder that holds `path` durable: that a file was created, or is gone. Systems that cannot
 * sync a folder, or do not let us, are passed over, as in os_unix.c; a disk that fails is not.
 */
export function syncParent(fs: VfsFileSystem, path: string): void {
  let fd: number;
  try {
    fd = fs.openSync(parse(path).dir, fs.constants.O_RDONLY);
  } catch {
    return;
  }
  try {
    fs.fsyncSync(fd);
  } catch (error) {
    if (!["EINVAL", "EPERM", "EACCES", "EBADF", "EISDIR", "ENOTSUP"].includes(errorCode(error))) throw error;
  } finally {
    fs.closeSync(fd);
  }
}
