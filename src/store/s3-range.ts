import { StoreError } from "../errors.ts";
import { type GetOptions, resolveRange } from "./object-store.ts";
import { hiddenHeader } from "./s3-errors.ts";
import type { S3GetOutput } from "./s3-sdk.ts";

/** As RFC 9110, 14.1.2: the last byte is named, and "-n" means the last n. Throws for what no object could have. */
export function rangeHeader(range: NonNullable<GetOptions["range"]>, key: string): string {
  const { offset, length } = range;
  if (offset < 0) {
    if (!Number.isSafeInteger(offset)) resolveRange(range, 0, key);
    return `bytes=${offset}`;
  }
  resolveRange(range, Number.MAX_SAFE_INTEGER, key);
  return `bytes=${offset}-${offset + length - 1}`;
}

/** Size of the object, and of the body that comes. */
export function contentRange(
  output: S3GetOutput,
  ranged: boolean,
  key: string,
): { size: number; length: number } {
  const { ContentLength: length, ContentRange } = output;
  const [, first, last, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(ContentRange ?? "") ?? [];
  if (ranged && size !== undefined) return { size: Number(size), length: Number(last) - Number(first) + 1 };
  if (!ranged && length !== undefined) return { size: length, length };
  if (ranged) throw hiddenHeader("Content-Range", key);
  throw new StoreError("invalid-request", `${key}: the store did not answer with its length`, { key });
}
