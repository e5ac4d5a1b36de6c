import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ConfigError } from "../../src/errors.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { deleteReplica, ownKeys } from "../cli/destroy.ts";
import { openReplica } from "../cli/replica-word.ts";
import { type Finding, tellStory } from "./story.ts";

export interface DemoOptions {
  /** URL of a prefix without a replica; default: a folder of its own. */
  readonly replica?: string;
  /** Leave all of it behind, to be looked at. */
  readonly keep: boolean;
  readonly json: boolean;
}

/** Beside this file once both are built; vite.config.ts makes entries of them. */
const writerScript = join(dirname(fileURLToPath(import.meta.url)), "demo-writer.js");

/** Answers whether all was as promised. Throws when the story cannot be told to its end. */
export async function runDemo({ replica, keep, json }: DemoOptions): Promise<boolean> {
  const store = replica === undefined ? null : await emptyStore(replica);
  const folder = mkdtempSync(join(tmpdir(), "sluice-demo-"));
  const url = replica ?? pathToFileURL(join(folder, "replica")).href;
  const onExit = () => {
    if (!keep) rmSync(folder, { recursive: true, force: true });
  };
  const onSignal = () => {
    if (store !== null) console.error(`\nsluice: interrupted. Remove the rest: sluice destroy "${url}"`);
    process.exit(1);
  };
  process.once("exit", onExit).once("SIGINT", onSignal).once("SIGTERM", onSignal);
  try {
    console.error(`Database  ${join(folder, "app.db")}\nReplica   ${url}\nNumbers are transactions.\n`);
    const findings = await tellStory({ folder, replica: url, writerScript });
    const ok = findings.every(({ good }) => good);
    console.log(json ? JSON.stringify({ ok, findings }) : summary(findings, ok));
    return ok;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal).off("exit", onExit);
    if (keep) console.error(`\nKept: sluice ls "${url}"; the databases are in ${folder}`);
    else if (store !== null) await deleteReplica(store, await ownKeys(store));
    onExit();
  }
}

/** A replica that is there already is not the demo's to extend, and not the demo's to delete. */
async function emptyStore(replica: string): Promise<ObjectStore> {
  const store = await openReplica(replica);
  if ((await ownKeys(store)).length > 0)
    throw new ConfigError("--replica", `${store.url} holds a replica already. Name another prefix`);
  return store;
}

function summary(findings: readonly Finding[], ok: boolean): string {
  const width = Math.max(...findings.map(({ what }) => what.length));
  const lines = findings.map(({ what, seen, good }) => `${good ? "✓" : "✗"} ${what.padEnd(width)}  ${seen}`);
  const verdict = ok
    ? "Nothing that was acknowledged is lost."
    : "NOT as promised; see the lines marked with ✗.";
  return `\n${lines.join("\n")}\n\n${verdict}`;
}
