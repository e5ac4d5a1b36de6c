/**
 * What GatewayStore and the gateway say to each other, said once. A request names its verb, and all that belongs to it, in
 * the query: so no key ever is part of a path, which proxies and frameworks decode and tidy up in ways of their own, and
 * the gateway need not know where it is mounted.
 *
 *     GET  ?verb=about                                                 -> About
 *     GET  ?verb=get&key=…[&offset=…&length=…][&match=…]               -> the bytes, with SIZE, LENGTH and ETAG headers
 *     GET  ?verb=list&prefix=…[&after=…]                               -> Page
 *     POST ?verb=put&key=…&size=…[&create=1]                    bytes  -> nothing
 *     POST ?verb=begin&key=…[&size=…][&create=1]                       -> Begun
 *     POST ?verb=part&key=…&upload=…&number=…&size=…            bytes  -> nothing
 *     POST ?verb=complete&key=…&upload=…&parts=…                       -> nothing
 *     POST ?verb=abort&key=…&upload=…                                  -> nothing
 *     POST ?verb=delete&size=…                        JSON, string[]   -> nothing
 *
 * `create=1` is If-None-Match: *. `size` is in bytes: of the body, for `begin` of the object where it is known. Parts are
 * numbered from 1 and go one after the other. "Nothing" is the JSON null.
 * An answer that is no success has a Refusal as its body.
 */
export type Verb = "about" | "get" | "list" | "put" | "begin" | "part" | "complete" | "abort" | "delete";

/**
 * In every request, so that a page of a foreign origin cannot make one without asking first (a CORS preflight); and in
 * every answer, so that nothing else, such as a proxy's 404, is ever taken for one.
 */
export const PROTOCOL_HEADER = "sluice-protocol";
export const PROTOCOL_VERSION = "1";

/** Of the answer to `get`: bytes of the whole object, bytes of the body, and the version's name, percent-encoded. */
export const SIZE_HEADER = "sluice-size";
export const LENGTH_HEADER = "sluice-length";
export const ETAG_HEADER = "sluice-etag";

/** Bytes of a body, at most, unless the gateway states less. S3's multipart uploads want 5 MiB at least. */
export const PART_BYTES = 8 * 1024 * 1024;
/** Keys in one `delete`, and entries that one page of a `list` looks at. As S3 has it. */
export const BATCH = 1000;
/** Of an upload that the gateway does not have (any more): its client begins again. */
export const GONE = 410;

/** What the store behind the gateway can do, and what the gateway takes. */
export interface About {
  readonly conditionalCreate: "atomic" | "none";
  /** Bytes of one body. */
  readonly partBytes: number;
}
/** Key, bytes, milliseconds since 1970, and age in milliseconds: see ObjectInfo. */
export type Entry = readonly [key: string, size: number, lastModified: number, age: number];
export interface Page {
  readonly objects: readonly Entry[];
  /** The `after` of the next page; null where there is none. */
  readonly next: string | null;
}
export interface Begun {
  readonly upload: string;
}
export interface Refusal {
  /** A StoreErrorKind. */
  readonly kind: string;
  readonly message: string;
  readonly retryAfterMs?: number;
  readonly key?: string;
}
