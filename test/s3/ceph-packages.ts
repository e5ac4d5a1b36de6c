import { execFileSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin", "setpriv"];
const PACKAGES = ["radosgw", "ceph-mon", "ceph-osd", "util-linux"];
const INSTALL_TIMEOUT_MS = 10 * 60_000;

/** Sees to it that Ceph is installed: from Debian's packages, where we may. Answers why it is not, or null. */
export function installCeph(): string | null {
  if (missing().length === 0) return null;
  const command = `apt-get install --no-install-recommends ${PACKAGES.join(" ")}`;
  const reason = `${missing().join(", ")} not found; install them: ${command}`;
  if (process.getuid?.() !== 0 || !onPath("apt-get")) return reason;
  console.log(`Installing Ceph for the S3 tests: ${command}`);
  try {
    apt("update", "-qq");
    apt("install", "-y", "-qq", "--no-install-recommends", ...PACKAGES);
  } catch (error) {
    return `${reason} (tried, and it failed: ${error instanceof Error ? error.message : error})`;
  }
  return missing().length === 0 ? null : reason;
}

function missing(): string[] {
  return PROGRAMS.filter((program) => !onPath(program));
}

function onPath(program: string): boolean {
  return (process.env.PATH ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function apt(...args: string[]): void {
  execFileSync("apt-get", args, {
    stdio: ["ignore", "ignore", "pipe"],
    timeout: INSTALL_TIMEOUT_MS,
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
  });
}
