import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { armFaults } from "../../src/faults.ts";

/** When a process is to kill itself. */
export type SelfKill =
  /** At the `count`-th time that it passes the named fault point, or any. */
  | { readonly at: "fault"; readonly point?: string; readonly count: number }
  /** At its `count`-th call that changes files; `half`: in the middle of that one, if it is a write. */
  | { readonly at: "file-call"; readonly count: number; readonly half: boolean };

const SYNC = ["openSync", "ftruncateSync", "renameSync", "unlinkSync", "fsyncSync", "fdatasyncSync"] as const;
const ASYNC = ["open", "link", "rename", "unlink", "mkdir"] as const;

export function armSelfKill(kill: SelfKill): void {
  let left = kill.count;
  if (kill.at === "fault") {
    armFaults((point) => {
      if ((kill.point === undefined || kill.point === point) && --left === 0) killSelf();
    });
    return;
  }
  const pass = () => {
    if (--left === 0) killSelf();
  };
  for (const name of SYNC) before(fs, name, pass);
  for (const name of ASYNC) before(fs.promises, name, pass);
  const { writeSync } = fs;
  fs.writeSync = ((fd: number, bytes: Uint8Array, at?: number, length?: number, ...rest: []) => {
    if (fd > 2 && --left === 0) {
      if (kill.half) writeSync(fd, bytes, at, (length ?? bytes.length) >> 1, ...rest);
      killSelf();
    }
    return writeSync(fd, bytes, at, length, ...rest);
  }) as typeof fs.writeSync;
  syncBuiltinESMExports();
}

function before(target: object, name: string, then: () => void): void {
  const functions = target as Record<string, (...args: unknown[]) => unknown>;
  const original = functions[name]!;
  functions[name] = (...args) => {
    then();
    return original(...args);
  };
}

export function killSelf(): never {
  for (;;) process.kill(process.pid, "SIGKILL");
}
