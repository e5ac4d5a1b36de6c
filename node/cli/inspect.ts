import { open } from "node:fs/promises";
import { basename } from "node:path";
import { ConfigError, CorruptObjectError, StoreError } from "../../src/errors.ts";
import { openObject } from "../../src/format/decode.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import { parseKey } from "../../src/format/parse-key.ts";
import { openStored } from "../../src/replica.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../compression.ts";
import { byteSize, ProgressLine } from "../progress.ts";
import { type Command, EXIT_FAILED, EXIT_OK } from "./command.ts";
import { isReplicaUrl, openReplica } from "./replica-word.ts";

export const inspect: Command = {
  usage: "inspect <replica> <key> | inspect <file>",
  help: `Reads one object, checks every byte of it (header, index, id, the hash of every page) and shows what it is.

  sluice inspect s3://my-bucket/backups/app/ snapshots/0000000000000400.sqlite.zst
  sluice inspect ./0000000000000400.sqlite.zst

JSON: { key, id, header, pages, size, ok: true }, or with exit code 1 { key, ok: false, part, problem }; the part is one
of size, header, block, page, index, trailer, id.`,
  options: {},
  words: [1, 2],
  async run([first, key], { json }) {
    try {
      return await (key === undefined
        ? inspectFile(first!, json === true)
        : inspectStored(first!, key, json));
    } catch (error) {
      if (!(error instanceof CorruptObjectError)) throw error;
      const { part, message } = error;
      if (json) console.log(JSON.stringify({ key: error.key, ok: false, part, problem: message }));
      console.error(`sluice: damaged: ${message}`);
      return EXIT_FAILED;
    }
  },
};

async function inspectStored(replica: string, key: string, json: unknown): Promise<number> {
  const store = await openReplica(replica);
  const kind = parseKey(key)?.kind;
  if (kind !== "snapshot" && kind !== "segment")
    throw new ConfigError("key", `${key} is not the key of a snapshot or segment. See sluice ls --json`);
  return report(await openStored(store, await find(store, key), await loadCodecs()), json === true);
}

async function inspectFile(path: string, json: boolean): Promise<number> {
  if (isReplicaUrl(path)) throw new ConfigError("key", "is missing behind the replica. See sluice ls --json");
  const handle = await open(path, "r").catch((cause) => {
    throw new StoreError("not-found", `${path} cannot be opened: ${cause.code}`, {}, { cause });
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw new ConfigError("file", `${path} is not a file`);
    const read = async (offset: number, length: number) => {
      const { buffer, bytesRead } = await handle.read(new Uint8Array(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    };
    return await report(
      await openObject({ key: basename(path), size: stat.size, read }, await loadCodecs()),
      json,
    );
  } finally {
    await handle.close();
  }
}

async function find(store: ObjectStore, key: string): Promise<{ key: string; size: number }> {
  for await (const info of store.list(key)) if (info.key === key) return info;
  throw new StoreError("not-found", `${store.url} has no object ${key}. See sluice ls --json for its keys.`, {
    key,
  });
}

async function report(object: ObjectReader, json: boolean): Promise<number> {
  const line = new ProgressLine("checking");
  try {
    for (let b = 0; b < object.blockCount; b++) {
      object.decodeBlock(b, await object.read(object.blockRange(b)));
      line.update((b + 1) / object.blockCount, `${b + 1}/${object.blockCount} blocks`);
    }
  } finally {
    line.clear();
  }
  const { key, id, header, size } = object;
  const pages = object.pgnos.length;
  if (json) {
    console.log(JSON.stringify({ key, id, header, pages, size, ok: true }));
    return EXIT_OK;
  }
  const from = header.from === null ? "" : `from transaction ${header.from.txid} `;
  console.log(`${key}\n  ${header.kind} ${from}to transaction ${header.to.txid}, id ${id}`);
  console.log(
    `  ${pages} of the database's ${header.pageCount} pages of ${header.pageSize} bytes, in ${byteSize(size)}`,
  );
  console.log(
    `  committed ${new Date(header.commits.first).toISOString()} to ${new Date(header.commits.last).toISOString()}`,
  );
  console.log(
    `  written ${new Date(header.created).toISOString()} by ${header.writer}, history ${header.lineage}\n  all hashes are right`,
  );
  return EXIT_OK;
}
