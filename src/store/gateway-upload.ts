import { StoreError } from "../errors.ts";
import { readBegun } from "./gateway-answers.ts";
import type { Call, GatewayConnection } from "./gateway-connection.ts";
import { GONE } from "./gateway-protocol.ts";
import { IdleWatch, unlessAborted } from "./idle-watch.ts";
import { chunksOf, type PutBody } from "./object-store.ts";

declare function setTimeout(callback: () => void, ms: number): unknown;

/** Tries of one request of an upload, and the longest pause before the second, milliseconds; each further may be twice that. */
const TRIES = 4;
const FIRST_PAUSE_MS = 250;
/** How long, without progress, the gateway may take to throw away the parts of an upload that failed. */
const CLEANUP_TIMEOUT_MS = 10_000;

/** What is uploaded, and how its requests are made. */
export interface UploadPlan {
  readonly connection: GatewayConnection;
  readonly key: string;
  readonly create: boolean;
  /** Bytes of one body, at most. */
  readonly partBytes: number;
  readonly idleMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Uploads bytes: one request where they fit a part, so that nothing more can fail; else part by part. */
export async function upload(plan: UploadPlan, body: PutBody | AsyncIterable<Uint8Array>): Promise<void> {
  const parts = partsOf(chunksOf(body, plan.signal), plan.partBytes);
  try {
    const first = await parts.next();
    const second = await parts.next();
    if (second.done === true) return await put(plan, first.value ?? new Uint8Array());
    await uploadParts(plan, sizeOf(body), first.value!, second.value, parts);
  } finally {
    await parts.return();
  }
}

async function put(plan: UploadPlan, bytes: Uint8Array): Promise<void> {
  plan.signal?.throwIfAborted();
  const query = { size: `${bytes.length}`, ...(plan.create && { create: "1" }) };
  await once(plan, { verb: "put", key: plan.key, query, post: bytes });
}

/**
 * One part at a time, in order. A request that fails is made again with the same bytes: the gateway knows a part that it
 * has. Whatever ends the upload early ends it there too.
 */
async function uploadParts(
  plan: UploadPlan,
  size: number | null,
  first: Uint8Array,
  second: Uint8Array,
  others: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { connection, key } = plan;
  const opening = { ...(size !== null && { size: `${size}` }), ...(plan.create && { create: "1" }) };
  const begin = (watch: IdleWatch) =>
    connection.json({ verb: "begin", key, query: opening, post: "" }, readBegun, watch);
  const { upload } = await watched(plan, begin);
  let number = 0;
  const send = async (bytes: Uint8Array) => {
    number += 1;
    const query = { upload, number: `${number}`, size: `${bytes.length}` };
    await patiently(plan, { verb: "part", key, query, post: bytes });
  };
  try {
    await send(first);
    await send(second);
    for await (const part of others) await send(part);
    plan.signal?.throwIfAborted();
    await patiently(plan, { verb: "complete", key, query: { upload, parts: `${number}` }, post: "" });
  } catch (error) {
    const call: Call = { verb: "abort", key, query: { upload }, post: "" };
    const patience = { ...plan, signal: undefined, idleMs: CLEANUP_TIMEOUT_MS };
    await once(patience, call).catch(() => undefined);
    throw error;
  }
}

function sizeOf(body: PutBody | AsyncIterable<Uint8Array>): number | null {
  if (ArrayBuffer.isView(body)) return body.length;
  return "chunks" in body ? body.size : null;
}

function once(plan: UploadPlan, call: Call): Promise<void> {
  return watched(plan, async (watch) => {
    const response = await plan.connection.send(call, watch);
    // An answer that is not read keeps its connection.
    await unlessAborted(response.text(), watch.signal).catch(() => undefined);
  });
}

async function watched<T>(plan: UploadPlan, send: (watch: IdleWatch) => Promise<T>): Promise<T> {
  const watch = new IdleWatch(plan.idleMs, plan.signal);
  try {
    return await send(watch);
  } finally {
    watch.end();
  }
}

async function patiently(plan: UploadPlan, call: Call): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await once(plan, call);
    } catch (error) {
      const again = error instanceof StoreError && error.transient && error.detail.status !== GONE;
      if (!again || tries === TRIES) throw error;
      const longest = FIRST_PAUSE_MS * 2 ** (tries - 1);
      const ms = Math.max(error.detail.retryAfterMs ?? 0, Math.random() * longest);
      await unlessAborted(new Promise<void>((resolve) => setTimeout(resolve, ms)), plan.signal);
    }
  }
}

/** The same bytes in pieces of `partBytes`, the last one smaller. Holds one piece and what the source gave. */
async function* partsOf(
  chunks: AsyncGenerator<Uint8Array, void, undefined>,
  partBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let part = new Uint8Array(0);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      if (filled === partBytes) {
        yield part;
        [part, filled] = [new Uint8Array(0), 0];
      }
      const length = Math.min(partBytes - filled, chunk.length - at);
      part = grown(part, filled + length, partBytes);
      part.set(chunk.subarray(at, at + length), filled);
      filled += length;
      at += length;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** Room for `size` bytes: what is small takes little, what grows is not copied often. */
function grown(part: Uint8Array<ArrayBuffer>, size: number, limit: number): Uint8Array<ArrayBuffer> {
  if (size <= part.length) return part;
  const room = new Uint8Array(Math.min(limit, Math.max(size, 2 * part.length)));
  room.set(part);
  return room;
}
