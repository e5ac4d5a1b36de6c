import { StoreError } from "../errors.ts";

/**
 * Collects a body into one array, at the beginning of `into` where that is given. Throws StoreError once more than `limit`
 * bytes arrive, before they are kept.
 */
export async function collect(
  body: AsyncIterable<Uint8Array>,
  limit: number,
  into?: Uint8Array,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit)
      throw new StoreError(
        "unavailable",
        `the store answered with more than the ${limit} bytes that are there`,
      );
    if (into === undefined) chunks.push(chunk);
    else putAt(into, size - chunk.length, chunk);
  }
  if (into !== undefined) return into.subarray(0, size);
  if (chunks.length === 1) return chunks[0]!;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

function putAt(into: Uint8Array, at: number, chunk: Uint8Array): void {
  const isThere = chunk.buffer === into.buffer && chunk.byteOffset === into.byteOffset + at;
  if (!isThere) into.set(chunk, at);
}
