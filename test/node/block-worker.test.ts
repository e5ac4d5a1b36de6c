/** What a thread of a restore does where the inside of zstd is not as it is known to be, and where a disk takes a part of a write. */
import fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import zlib from "node:zlib";
import { expect, onTestFinished, test } from "vitest";
import { source } from "../../node/block-worker.ts";
import { openObject } from "../../src/format/decode.ts";
import {
  codecs,
  encodeObject,
  memorySource,
  range,
  segmentHeader,
  snapshotHeader,
  somePages,
} from "../format/objects.ts";
import { temporaryFolder } from "./vfs-fixture.ts";

const { resolve } = createRequire(import.meta.url);
const PAGES = 130;
const HEADERS = { snapshot: snapshotHeader(4096, PAGES), segment: segmentHeader(4096, PAGES) };
const KINDS = ["snapshot", "segment"] as const;

/** Runs before a thread's own code, with a file that it can note in. */
type Prelude = (notes: string) => string;

/** Has a thread write all blocks of an object, where `prelude` ran before. Returns what it noted. */
async function written(
  kind: (typeof KINDS)[number],
  prelude: Prelude,
  library = resolve("@bokuweb/zstd-wasm"),
) {
  const folder = temporaryFolder();
  const [path, notes] = [join(folder, "file"), join(folder, "notes")];
  fs.writeFileSync(notes, "");
  const fd = fs.openSync(path, "wx+");
  const worker = new Worker(`{ ${prelude(notes)} }\n${source}`, {
    eval: true,
    workerData: { fd, zstd: library, xxhash: resolve("xxhash-wasm"), notes },
    execArgv: [],
  });
  onTestFinished(async () => {
    await worker.terminate();
    fs.closeSync(fd);
  });
  const pages = somePages(4096, range(1, PAGES));
  const { bytes } = encodeObject(HEADERS[kind], pages);
  const object = await openObject(memorySource(bytes), codecs);
  const answers = new Promise((done, failed) => {
    const heard: unknown[] = [];
    worker.on("error", failed);
    worker.on("message", (answer) => heard.push(answer) === object.blockCount && done(heard));
  });
  for (let id = 0; id < object.blockCount; id++) {
    const { offset, length } = object.blockRange(id);
    const layout = object.layoutOf(id);
    const runs = [{ j: 0, count: layout.count, pgno: layout.firstEntry + 1 }];
    worker.postMessage({ id, frame: bytes.subarray(offset, offset + length), layout, runs });
  }
  expect(await answers).toEqual(Array.from({ length: object.blockCount }, (_, id) => ({ id })));
  const expected = Buffer.alloc(PAGES * 4096);
  for (const [pgno, page] of pages) expected.set(page, (pgno - 1) * 4096);
  expect(Buffer.compare(fs.readFileSync(path), expected)).toBe(0);
  return { notes: fs.readFileSync(notes, "utf8"), blocks: object.blockCount };
}

test.each(KINDS)("a %s, where a disk takes a part of what it is given", async (kind) => {
  const { notes } = await written(
    kind,
    (notes) => `
      const fs = require("node:fs");
      const { writeSync } = fs;
      fs.writeSync = (fd, bytes, from, length, at) => {
        fs.appendFileSync(${JSON.stringify(notes)}, "w");
        return writeSync(fd, bytes, from, Math.min(length, 5000), at);
      };`,
  );
  expect(notes.length).toBeGreaterThan((PAGES * 4096) / 5000);
});

/** A copy of the library's face, with this in the place of its inside; it notes each frame that it unpacks. */
function strangeZstd(inside: string | null): string {
  const folder = temporaryFolder();
  const library = join(folder, "index.js");
  fs.writeFileSync(
    library,
    `const zstd = require(${JSON.stringify(resolve("@bokuweb/zstd-wasm"))});
    const { notes } = require("node:worker_threads").workerData;
    const decompress = (frame) => (require("node:fs").appendFileSync(notes, "d"), zstd.decompress(frame));
    module.exports = { init: () => zstd.init(), decompress };`,
  );
  if (inside !== null) fs.writeFileSync(join(folder, "module.js"), inside);
  return library;
}

test.runIf(!("zstdDecompressSync" in zlib)).each<[string, string | null]>([
  ["is elsewhere", null],
  ["has another function", "exports.Module = { HEAPU8: new Uint8Array(8) };"],
  ["keeps its memory elsewhere", "exports.Module = { _ZSTD_decompress() {} };"],
  [
    "has no memory left",
    "exports.Module = { _ZSTD_decompress() {}, HEAPU8: new Uint8Array(8), _malloc: () => 0 };",
  ],
])("zstd as WebAssembly whose inside %s unpacks all the same", async (_, inside) => {
  for (const kind of KINDS) {
    const { notes, blocks } = await written(kind, () => "", strangeZstd(inside));
    expect(notes).toBe("d".repeat(blocks));
  }
});

test.runIf("zstdDecompressSync" in zlib).each<[string, string]>([
  ["is elsewhere", "({ close() {} })"],
  ["answers otherwise", "Object.assign(createZstdDecompress(), { _writeState: [1, 1] })"],
])("zstd of Node whose inside %s unpacks all the same", async (_, strange) => {
  for (const kind of KINDS) {
    const { notes, blocks } = await written(
      kind,
      (notes) => `
          const zlib = require("node:zlib");
          const { createZstdDecompress, zstdDecompressSync } = zlib;
          Object.defineProperty(zlib, "createZstdDecompress", { value: () => ${strange} });
          Object.defineProperty(zlib, "zstdDecompressSync", {
            value: (...all) =>
              (require("node:fs").appendFileSync(${JSON.stringify(notes)}, "d"), zstdDecompressSync(...all)),
          });`,
    );
    expect(notes).toBe("d".repeat(blocks));
  }
});
