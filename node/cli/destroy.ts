import { createInterface } from "node:readline/promises";
import { lineageKey, metadataKey } from "../../src/format/keys.ts";
import { parseKey } from "../../src/format/parse-key.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { PROBE_KEY } from "../../src/store/s3-probe.ts";
import { ProgressLine } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { openReplica } from "./replica-word.ts";

/** Keys in one request. */
const BATCH = 1000;

export const destroy: Command = {
  usage: "destroy <replica> [--yes]",
  help: `Erases a replica: every object that Sluice wrote under the prefix, and nothing else. Cannot be undone. Asks for the
word "destroy" unless --yes is given. Local databases are not touched; stop the program that replicates first, or it
goes on uploading.

  sluice destroy file:///mnt/backup/old-app
  sluice destroy "s3://my-bucket/old-app/?region=eu-central-1" --yes

JSON: { deleted }.`,
  options: { yes: { type: "boolean" } },
  words: [1, 1],
  async run([replica], { json, yes }) {
    const store = await openReplica(replica!);
    const keys = await ownKeys(store);
    if (keys.length > 0 && yes !== true && !(await confirmed(`${store.url}: ${keys.length} objects`))) {
      console.error("sluice: nothing was deleted.");
      return EXIT_FAILED;
    }
    await deleteReplica(store, keys);
    console.log(json ? JSON.stringify({ deleted: keys.length }) : `${keys.length} objects deleted.`);
    return EXIT_OK;
  },
};

/** The keys under the prefix that Sluice wrote. */
export async function ownKeys(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) if (parseKey(key) !== null || key === PROBE_KEY) keys.push(key);
  return keys;
}

/** Deletes them. The claim goes last: while it stands, nobody begins another history among the remains. */
export async function deleteReplica(store: ObjectStore, keys: readonly string[]): Promise<void> {
  const isLast = (key: string) => key === lineageKey || key === metadataKey;
  const last = keys.filter(isLast);
  const first = keys.filter((key) => !isLast(key));
  const line = new ProgressLine("deleting");
  try {
    for (let at = 0; at < first.length; at += BATCH) {
      await store.delete(first.slice(at, at + BATCH));
      const done = Math.min(at + BATCH, first.length);
      line.update(done / keys.length, `${done}/${keys.length} objects`);
    }
    if (last.length > 0) await store.delete(last);
  } finally {
    line.clear();
  }
}

async function confirmed(what: string): Promise<boolean> {
  if (!process.stdin.isTTY) {
    console.error("sluice: standard input is not a terminal; give --yes to delete without being asked.");
    return false;
  }
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  // The end of the input answers nothing, and the question would wait for ever.
  const ended = new Promise<string>((resolve) => prompt.once("close", () => resolve("")));
  const answer = await Promise.race([
    prompt.question(`${what}. Type destroy to delete them: `).catch(() => ""),
    ended,
  ]);
  prompt.close();
  return answer.trim() === "destroy";
}
