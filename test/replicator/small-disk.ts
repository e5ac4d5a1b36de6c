import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A file system of 4 MiB, until the test ends; null where this process may not mount one. */
export function smallDisk(): string | null {
  const disk = mkdtempSync(join(tmpdir(), "sluice-disk-"));
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]);
  onTestFinished(() => {
    if (status === 0) spawnSync("umount", ["-l", disk]);
    rmSync(disk, { recursive: true, force: true });
  });
  return status === 0 ? disk : null;
}
