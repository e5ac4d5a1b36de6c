import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import type { Random } from "../faults/random.ts";

const CALLS = [
  ...["openSync", "readSync", "writeSync", "ftruncateSync", "fsyncSync", "fdatasyncSync"],
  ...["renameSync", "unlinkSync"],
] as const;

/** Calls of the file system that fail with EIO while `chance` is above 0. */
export class BrokenDisk {
  chance = 0;
  failed = 0;

  constructor(random: Random) {
    const functions = fs as unknown as Record<string, (...args: unknown[]) => unknown>;
    for (const name of CALLS) {
      const original = functions[name]!;
      functions[name] = (...args) => {
        const own = typeof args[0] === "number" && args[0] <= 2;
        if (this.chance > 0 && !own && random.chance(this.chance)) {
          this.failed += 1;
          throw Object.assign(new Error(`EIO: i/o error, ${name}`), {
            code: "EIO",
            errno: -5,
            syscall: name,
          });
        }
        return original(...args);
      };
    }
    syncBuiltinESMExports();
  }
}
