import { createInterface } from "node:readline/promises";
import { lineageKey, metadataKey, parseKey } from "../../src/format/keys.ts";
import { PROBE_KEY } from "../../src/store/s3-probe.ts";
import { openStore } from "../open-store.ts";
import { ProgressLine } from "../progress.ts";
import type { Command } from "./run.ts";

/** Keys in one request. */
const BATCH = 1000;

export const destroy: Command = {
  usage: "destroy <replica> [--yes]",
  help: `Erases a replica: every object that Sluice wrote under the prefix, and nothing else. Cannot be undone. Asks for the
word "destroy" unless --yes is given. Local databases are not touched.

  sluice destroy file:///mnt/backup/old-app

JSON: { deleted }.`,
  options: { yes: { type: "boolean" } },
  words: [1, 1],
  async run([replica], { json, yes }) {
    const store = openStore({ replica: replica! });
    const keys: string[] = [];
    for await (const { key } of store.list(""))
      if (parseKey(key) !== null || key === PROBE_KEY) keys.push(key);
    if (keys.length > 0 && yes !== true && !(await confirmed(`${store.url}: ${keys.length} objects`))) {
      console.error("sluice: nothing was deleted.");
      return 1;
    }
    // The claim goes last: while it stands, nobody begins another history among the remains.
    const isLast = (key: string) => key === lineageKey || key === metadataKey;
    const last = keys.filter(isLast);
    const first = keys.filter((key) => !isLast(key));
    const line = new ProgressLine("deleting", process.stderr);
    for (let at = 0; at < first.length; at += BATCH) {
      await store.delete(first.slice(at, at + BATCH));
      line.update((at + BATCH) / keys.length, `${Math.min(at + BATCH, first.length)}/${keys.length} objects`);
    }
    if (last.length > 0) await store.delete(last);
    console.log(json ? JSON.stringify({ deleted: keys.length }) : `${keys.length} objects deleted.`);
    return 0;
  },
};

async function confirmed(what: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    console.error("sluice: standard input is not a terminal; give --yes to delete without being asked.");
    return false;
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await prompt.question(`${what}. Type destroy to delete them: `);
  prompt.close();
  return answer.trim() === "destroy";
}
