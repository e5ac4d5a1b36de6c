import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { inject } from "vitest";
import { temporaryDirectory } from "../format/native-sqlite.ts";

/** What a replica holds, as seen from outside: restored by the command line, judged by the real sqlite3. */
export function judge(replica: string): { integrity: string; rows: number; fingerprint: string } {
  const path = `${temporaryDirectory()}/notes.db`;
  run(process.execPath, [inject("sluice"), "restore", `file://${replica}`, path]);
  const ask = (sql: string) => run("sqlite3", ["-batch", "-bail", path, sql]);
  const lines = ask("SELECT id || '|' || text || '|' || time FROM notes ORDER BY id");
  return {
    integrity: ask("PRAGMA integrity_check").trim(),
    rows: Number(ask("SELECT count(*) FROM notes")),
    fingerprint: createHash("sha256").update(lines).digest("hex"),
  };
}

function run(program: string, parameters: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, parameters, { encoding: "utf8", maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${program} ended with ${status}: ${stderr}`);
  return stdout;
}
