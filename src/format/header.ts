/** The header of an object: JSON in its first skippable frame. FORMAT.md, "Header". */
import { CorruptObjectError, UnsupportedFormatError } from "../errors.ts";
import { isPageSize } from "../wal/wal-format.ts";
import { isId } from "./id.ts";
import type { Position } from "./position.ts";

/** The major version that this release reads and writes. */
export const formatVersion = 1;
/** Bytes of JSON that a reader accepts. */
export const maxHeaderPayload = 65536;
/** SQLite's own limit, https://www.sqlite.org/limits.html. */
const maxPageCount = 0xfffffffe;

export interface ObjectHeader {
  readonly format: typeof formatVersion;
  /** What a reader must understand beyond format 1. This release knows nothing, so the list is empty. */
  readonly features: readonly string[];
  /** 32 hex digits, the identity of the history. */
  readonly lineage: string;
  readonly kind: "snapshot" | "segment";
  /** Bytes. */
  readonly pageSize: number;
  /** Database size in pages at `to`. */
  readonly pageCount: number;
  /** The position before; null for a snapshot, which needs none. */
  readonly from: Position | null;
  /** The position after. A null id means the object's own: the chain's ids are those of its level-0 segments. */
  readonly to: { readonly txid: number; readonly id: string | null };
  /** 32 hex digits, who made the object. */
  readonly writer: string;
  /** When it was made, milliseconds since 1970. */
  readonly created: number;
  /** Times of the first and last commit it holds, milliseconds since 1970; in a snapshot both that of the commit at `to`. */
  readonly commits: { readonly first: number; readonly last: number };
}

/** The header's JSON, its fields always in the same order, so that equal headers are equal bytes. */
export function encodeHeader(header: ObjectHeader): Uint8Array<ArrayBuffer> {
  const { format, features, lineage, kind, pageSize, pageCount, from, to, writer, created, commits } = header;
  const ordered = {
    format,
    features,
    lineage,
    kind,
    pageSize,
    pageCount,
    from: from && { txid: from.txid, id: from.id },
    to: { txid: to.txid, id: to.id },
    writer,
    created,
    commits: { first: commits.first, last: commits.last },
  };
  return new TextEncoder().encode(JSON.stringify(ordered));
}

/** Throws what `validateHeader` throws. */
export function decodeHeader(payload: Uint8Array, key: string): ObjectHeader {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch (cause) {
    throw new CorruptObjectError(key, "header", "not JSON", { cause });
  }
  return validateHeader(value, key);
}

/**
 * The one rule for headers, applied before writing and after reading. A header is valid if and only if every field is
 * there, has its type and range, and fits the others. Unknown fields are dropped: what a reader must understand is
 * announced in `features`.
 *
 * Throws UnsupportedFormatError for another major version or any feature, judged before everything else, and
 * CorruptObjectError "header".
 */
export function validateHeader(value: unknown, key: string): ObjectHeader {
  const require: Require = (condition, what) => {
    if (!condition) throw new CorruptObjectError(key, "header", what);
  };
  require(isRecord(value), "not an object");
  requireKnownFormat(value, key, require);

  const { lineage, kind, pageSize, pageCount, writer, created } = value;
  require(isId(lineage), "lineage is not an id");
  require(kind === "snapshot" || kind === "segment", "kind is neither snapshot nor segment");
  require(typeof pageSize === "number" && isPageSize(pageSize), "pageSize is not one of SQLite's");
  require(isCount(pageCount) && pageCount >= 1 && pageCount <= maxPageCount, "pageCount is out of range");
  require(isId(writer), "writer is not an id");
  require(isTime(created), "created is not a time");

  const { from, to } = validatePositions(value, kind, require);
  const { commits } = value;
  require(isRecord(commits), "commits is missing");
  const { first, last } = commits;
  require(isTime(first) && isTime(last) && first <= last, "commits is not a span of time");
  require(kind === "segment" || first === last, "a snapshot holds one commit time");
  return {
    format: formatVersion,
    features: [],
    lineage,
    kind,
    pageSize,
    pageCount,
    from,
    to,
    writer,
    created,
    commits: { first, last },
  };
}

type Require = (condition: unknown, what: string) => asserts condition;

function requireKnownFormat(value: Record<string, unknown>, key: string, require: Require): void {
  const { format, features } = value;
  require(isCount(format) && format >= 1, "format is not a version");
  if (format !== formatVersion) throw new UnsupportedFormatError(key, `format ${format}`);
  require(Array.isArray(features) &&
    features.every((feature) => typeof feature === "string"), "features is not a list");
  if (features.length > 0) throw new UnsupportedFormatError(key, `feature ${features.join(", ")}`);
}

function validatePositions(
  value: Record<string, unknown>,
  kind: ObjectHeader["kind"],
  require: Require,
): Pick<ObjectHeader, "from" | "to"> {
  const { from, to } = value;
  require(isRecord(to) && isCount(to.txid) && (to.id === null || isId(to.id)), "to is not a position");
  const after = { txid: to.txid, id: to.id };
  if (kind === "snapshot") {
    require(from === null, "a snapshot has no from");
    require(after.id !== null, "a snapshot's to has the id of the chain");
    return { from: null, to: after };
  }
  require(isRecord(from) && isCount(from.txid) && isId(from.id), "from is not a position");
  require(after.txid > from.txid, "a segment leads forward");
  return { from: { txid: from.txid, id: from.id }, to: after };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Milliseconds since 1970, as far as a Date goes (ECMA-262, "Time-related Constants"). */
export function isTime(value: unknown): value is number {
  return isCount(value) && value <= 8.64e15;
}
