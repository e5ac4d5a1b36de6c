import fs from "node:fs";
import { fileKey } from "./file-key.ts";

/**
 * Who holds a lock on the file, in words. Linux says it in /proc/<pid>/fdinfo, for processes that we may look into
 * (/proc/locks has -1 for the kind of lock that we take). Slow: every descriptor of every process is looked at.
 */
export function describeHolder(key: string): string {
  for (const pid of entries("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    for (const fd of entries(`/proc/${pid}/fd`)) {
      if (!holdsLock(pid, fd, key)) continue;
      if (Number(pid) === process.pid)
        return `this process (${pid}), in another thread or a second copy of Sluice`;
      return `process ${pid} (${readOr(`/proc/${pid}/comm`, "unknown").trim()})`;
    }
  }
  return "another process";
}

function holdsLock(pid: string, fd: string, key: string): boolean {
  try {
    const stat = fs.statSync(`/proc/${pid}/fd/${fd}`, { bigint: true, throwIfNoEntry: false });
    return (
      stat !== undefined && fileKey(stat) === key && /^lock:/m.test(readOr(`/proc/${pid}/fdinfo/${fd}`, ""))
    );
  } catch {
    return false; // the process has ended, or is not ours to look into
  }
}

function entries(directory: string): string[] {
  try {
    return fs.readdirSync(directory);
  } catch {
    return [];
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}
