/** Ids are 16 bytes, written as 32 lowercase hex digits. */
export const idSize = 16;

export function isId(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

/** The first 16 bytes of `digest` as an id. */
export function idFromBytes(digest: Uint8Array): string {
  let hex = "";
  for (const byte of digest.subarray(0, idSize)) hex += byte.toString(16).padStart(2, "0");
  return hex;
}

export function idToBytes(id: string): Uint8Array {
  return Uint8Array.from({ length: idSize }, (_, i) => Number.parseInt(id.slice(2 * i, 2 * i + 2), 16));
}

/** An id that nobody else has. */
export function randomId(): string {
  return idFromBytes(crypto.getRandomValues(new Uint8Array(idSize)));
}
