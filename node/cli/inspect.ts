import { open } from "node:fs/promises";
import { basename } from "node:path";
import { StoreError } from "../../src/errors.ts";
import { openObject } from "../../src/format/decode.ts";
import type { ObjectReader } from "../../src/format/object-reader.ts";
import { openStored } from "../../src/replica.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { loadCodecs } from "../compression.ts";
import { openStore } from "../open-store.ts";
import { megabytes, ProgressLine } from "../progress.ts";
import type { Command } from "./run.ts";

export const inspect: Command = {
  usage: "inspect <replica> <key> | inspect <file>",
  help: `Reads one object, checks every byte of it (header, index, id, the hash of every page) and shows what it is.

  sluice inspect s3://my-bucket/backups/app/ snapshots/0000000000000400.sqlite.zst
  sluice inspect ./0000000000000400.sqlite.zst

JSON: { key, id, header, pages, size, ok: true }.`,
  options: {},
  words: [1, 2],
  async run([first, key], { json }) {
    if (key === undefined) return inspectFile(first!, json === true);
    const store = openStore({ replica: first! });
    return report(await openStored(store, await find(store, key), await loadCodecs()), json === true);
  },
};

async function inspectFile(path: string, json: boolean): Promise<number> {
  const handle = await open(path, "r").catch((cause) => {
    throw new StoreError("not-found", `${path} cannot be opened: ${cause.code}`, {}, { cause });
  });
  try {
    const { size } = await handle.stat();
    const read = async (offset: number, length: number) => {
      const { buffer, bytesRead } = await handle.read(new Uint8Array(length), 0, length, offset);
      return buffer.subarray(0, bytesRead);
    };
    return await report(await openObject({ key: basename(path), size, read }, await loadCodecs()), json);
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
  const line = new ProgressLine("checking", process.stderr);
  for (let b = 0; b < object.blockCount; b++) {
    object.decodeBlock(b, await object.read(object.blockRange(b)));
    line.update((b + 1) / object.blockCount, `${b + 1}/${object.blockCount} blocks`);
  }
  const { key, id, header, size } = object;
  const pages = object.pgnos.length;
  if (json) {
    console.log(JSON.stringify({ key, id, header, pages, size, ok: true }));
    return 0;
  }
  const from = header.from === null ? "" : `from transaction ${header.from.txid} `;
  console.log(`${key}\n  ${header.kind} ${from}to transaction ${header.to.txid}, id ${id}`);
  console.log(
    `  ${pages} pages of ${header.pageSize} bytes of a database of ${header.pageCount}; ${megabytes(size)}`,
  );
  console.log(
    `  committed ${new Date(header.commits.first).toISOString()} to ${new Date(header.commits.last).toISOString()}`,
  );
  console.log(
    `  written ${new Date(header.created).toISOString()} by ${header.writer}, history ${header.lineage}\n  all hashes are right`,
  );
  return 0;
}
