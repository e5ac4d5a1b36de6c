// What `npm run demo` runs, and itself again as the writing process that is killed.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { type Finding, tellStory } from "./story.ts";
import { runWriter } from "./writer.ts";

if (process.argv[2] === "writer") await runWriter(JSON.parse(process.argv[3]!));
else await demo();

async function demo(): Promise<void> {
  parseArgs({ options: {} });
  const folder = mkdtempSync(join(tmpdir(), "sluice-demo-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
  const replica = pathToFileURL(join(folder, "replica")).href;
  console.log(`Database  ${join(folder, "app.db")}\nReplica   ${replica}\nNumbers are transactions.\n`);
  const findings = await tellStory(folder, replica);
  console.log(`\n${table(findings)}\n`);
  if (findings.every(({ good }) => good)) return console.log("Nothing that was acknowledged is lost.");
  console.log("NOT as promised; see the lines marked with ✗.");
  process.exitCode = 1;
}

function table(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  return findings
    .map(({ what, seen, good }) => `${good ? "✓" : "✗"} ${what.padEnd(width)}  ${seen}`)
    .join("\n");
}
