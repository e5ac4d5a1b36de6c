import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

/** A file system of its own in memory, where this process may mount one; else a folder like any other. */
export class SmallDisk {
  readonly folder: string;
  readonly mounted: boolean;

  constructor(folder: string, megabytes: number) {
    this.folder = folder;
    mkdirSync(folder);
    const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder]);
    this.mounted = status === 0;
  }

  /** Leaves no room while `during` goes on. */
  async full(during: () => Promise<void>): Promise<void> {
    const path = join(this.folder, "filler");
    const fd = openSync(path, "w");
    const block = new Uint8Array(1 << 16);
    try {
      for (;;) writeSync(fd, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
    } finally {
      closeSync(fd);
    }
    try {
      await during();
    } finally {
      rmSync(path);
    }
  }

  /** Nobody may have a file open for writing: the system does not allow it then. */
  async readOnly(during: () => Promise<void>): Promise<void> {
    execFileSync("mount", ["-o", "remount,ro", this.folder]);
    try {
      await during();
    } finally {
      execFileSync("mount", ["-o", "remount,rw", this.folder]);
    }
  }

  remove(): void {
    if (this.mounted) spawnSync("umount", ["-l", this.folder]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
