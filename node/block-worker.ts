/**
 * What a thread of block-threads.ts runs: source text, since a file of its own would have to be found beside whatever bundle
 * this is in. It is given the paths of the libraries and a descriptor of the process, and answers each order once it is
 * written, or why it is not.
 *
 * Of both kinds of zstd it uses the inside, where that looks as it is known to: a frame is unpacked into memory that is used
 * again, and pages are written straight from there. What is public makes an array for each frame, and Node's also a context:
 * a sixth to a quarter of the time, more in the garbage collector, and up to 100 MiB before that runs. Whatever the inside
 * answers, a page counts only if it has the hash that it should.
 */
export const source = `
const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");
const { parentPort, workerData } = require("node:worker_threads");

/** More than any block has, packed or not. */
const ROOM = 320 << 10;
/** Of a frame of the WAL: bytes of its header, and those of them that the index gives. */
const HEADER = 24;
const HEAD = 8;

async function openUnpack() {
  if (zlib.zstdDecompressSync !== undefined) return insideOfNode() ?? publicOfNode;
  const zstd = require(workerData.zstd);
  await zstd.init();
  return insideOfWasm(workerData.zstd) ?? ((frame) => zstd.decompress(frame));
}

function publicOfNode(frame, rawLength) {
  return zlib.zstdDecompressSync(frame, { chunkSize: Math.max(64, rawLength), maxOutputLength: rawLength });
}

function insideOfNode() {
  const raw = Buffer.alloc(ROOM);
  const flag = zlib.constants.ZSTD_e_end;
  let stream = null;
  let failure = null;
  const open = () => {
    stream = zlib.createZstdDecompress();
    failure = null;
    stream._handle.onerror = (message) => void (failure = message);
  };
  const unpack = (frame, rawLength) => {
    if (rawLength > ROOM) throw new RangeError("a block of " + rawLength + " bytes");
    if (stream === null) open();
    stream._handle.writeSync(flag, frame, 0, frame.length, raw, 0, rawLength);
    const [room, left] = stream._writeState;
    if (failure === null && room === 0 && left === 0) return raw.subarray(0, rawLength);
    // It is in the middle of a frame.
    stream.close();
    stream = null;
    throw new Error(failure ?? "a frame that ends elsewhere");
  };
  try {
    const frame = zlib.zstdCompressSync("abc");
    return String(unpack(frame, 3)) === "abc" ? unpack : null;
  } catch {
    return null;
  }
}

function insideOfWasm(library) {
  let wasm;
  try {
    wasm = require(path.join(path.dirname(library), "module.js")).Module;
    if (typeof wasm._ZSTD_decompress !== "function" || !(wasm.HEAPU8 instanceof Uint8Array)) return null;
  } catch {
    return null;
  }
  const packed = wasm._malloc(ROOM);
  const raw = wasm._malloc(ROOM);
  if (!packed || !raw) return null;
  return (frame, rawLength) => {
    if (frame.length > ROOM || rawLength > ROOM) throw new RangeError("a block of " + rawLength + " bytes");
    wasm.HEAPU8.set(frame, packed);
    const length = wasm._ZSTD_decompress(raw, rawLength, packed, frame.length);
    if (length !== rawLength) throw new Error("zstd answers " + length + " instead of " + rawLength);
    return wasm.HEAPU8.subarray(raw, raw + length);
  };
}

function check(raw, { rawLength, count, first, stride, pageSize, hashes, prefix, heads }, h64Raw) {
  if (raw.length !== rawLength) throw new Error("unpacks to " + raw.length + " bytes");
  for (let i = 0; i < prefix.length; i++) if (raw[i] !== prefix[i]) throw new Error("another WAL header");
  for (let j = 0; j < count; j++) {
    const at = first + j * stride;
    for (let i = 0; i < HEAD && heads.length > 0; i++)
      if (raw[at - HEADER + i] !== heads[j * HEAD + i]) throw new Error("another frame");
    if (h64Raw(raw.subarray(at, at + pageSize)) !== hashes[j]) throw new Error("another page");
  }
}

function write(raw, { j, count, pgno }, { first, stride, pageSize }) {
  const from = first + j * stride;
  if (stride !== pageSize)
    for (let i = 1; i < count; i++) raw.copyWithin(from + i * pageSize, from + i * stride, from + i * stride + pageSize);
  for (let done = 0; done < count * pageSize; )
    done += fs.writeSync(workerData.fd, raw, from + done, count * pageSize - done, (pgno - 1) * pageSize + done);
}

async function main() {
  const unpack = await openUnpack();
  const { h64Raw } = await require(workerData.xxhash)();
  parentPort.on("message", ({ id, frame, layout, runs }) => {
    try {
      const raw = unpack(frame, layout.rawLength);
      check(raw, layout, h64Raw);
      for (const run of runs) write(raw, run, layout);
      parentPort.postMessage({ id });
    } catch (error) {
      parentPort.postMessage({ id, error: String(error) });
    }
  });
}
main();
`;
