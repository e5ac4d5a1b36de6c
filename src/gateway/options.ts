import { checkNumber, checkObject, refuseUnknown } from "../config.ts";
import { ConfigError } from "../errors.ts";
import { checkStore } from "../store/check-store.ts";
import { PART_BYTES } from "../store/gateway-protocol.ts";
import type { ObjectStore } from "../store/object-store.ts";
import type { Timer } from "./body.ts";

/**
 * What a caller may do: read and write everything under `prefix` ("alice" is the folder alice/; "" is the whole store), or
 * nothing, because nobody knows who it is (401) or because it is known (403).
 */
export type Grant = { readonly prefix: string } | { readonly deny: 401 | 403 };

export interface GatewayOptions {
  /** Where the objects lie. */
  readonly store: ObjectStore;
  /**
   * Who makes this request, by its cookie or header, and which part of the store is theirs. Null is `{ deny: 401 }`. Its
   * body is not to be read. What it throws refuses the request.
   */
  readonly authorize: (request: Request) => Grant | null | Promise<Grant | null>;
  /** Origins, such as `https://app.example`, whose pages may call beside those of the gateway's own. Default none. */
  readonly allowedOrigins?: readonly string[];
  /** Bytes that one object may have. Default 16 GiB. */
  readonly maxObjectBytes?: number;
  /** Bytes of one request's body, at most 8 MiB; lower it for proxies that take less. Default 8 MiB. */
  readonly partBytes?: number;
  /** Bytes of bodies in memory at a time; one prefix may have a quarter of it. Default 256 MiB. */
  readonly maxBufferedBytes?: number;
  /** Uploads in parts that one prefix may have open. Default 8. */
  readonly maxUploads?: number;
  /** Milliseconds after which an upload that its client forgot is ended. Default 300000. */
  readonly uploadIdleMs?: number;
  /** Milliseconds that a body may pause, either way. Default 30000. */
  readonly idleMs?: number;
  /** Told of what fails behind the gateway; clients learn only of which kind it was. */
  readonly onError?: (error: unknown) => void;
  /** Ends the uploads that are open and refuses requests. */
  readonly signal?: AbortSignal;
  /** Time, so that tests can have their own. */
  readonly timer?: Timer;
}

/** The limits with their defaults, checked. */
export interface Limits {
  readonly maxObjectBytes: number;
  readonly partBytes: number;
  readonly maxBufferedBytes: number;
  readonly maxUploads: number;
  readonly uploadIdleMs: number;
  readonly idleMs: number;
}

const fields = [
  "store",
  "authorize",
  "allowedOrigins",
  "maxObjectBytes",
  "partBytes",
  "maxBufferedBytes",
  "maxUploads",
  "uploadIdleMs",
  "idleMs",
  "onError",
  "signal",
  "timer",
] as const satisfies readonly (keyof GatewayOptions)[];

const MIB = 1024 * 1024;
/** The least that can be set for one body: below it an upload is nothing but requests. */
const MIN_PART_BYTES = 64 * 1024;
/** The largest delay that timers take, milliseconds. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Throws ConfigError naming the field. */
export function checkGatewayOptions(options: GatewayOptions): Limits {
  refuseUnknown(options, fields, "gateway options");
  if (checkObject("store", options.store) === undefined) throw new ConfigError("store", "is missing");
  checkStore("store", options.store);
  if (typeof options.authorize !== "function")
    throw new ConfigError("authorize", "must be a function: it says who may use which part of the store");
  if (options.onError !== undefined && typeof options.onError !== "function")
    throw new ConfigError("onError", "must be a function");
  const count = (field: keyof Limits, fallback: number, min: number, max = Number.MAX_SAFE_INTEGER) => {
    const value = checkNumber(field, options[field], fallback, min, max);
    if (Number.isInteger(value)) return value;
    throw new ConfigError(field, "must be a whole number");
  };
  const partBytes = count("partBytes", PART_BYTES, MIN_PART_BYTES, PART_BYTES);
  return {
    partBytes,
    maxObjectBytes: count("maxObjectBytes", 16 * 1024 * MIB, 1),
    // One body must find room in the share of its prefix.
    maxBufferedBytes: count("maxBufferedBytes", 256 * MIB, 4 * partBytes),
    maxUploads: count("maxUploads", 8, 1),
    uploadIdleMs: count("uploadIdleMs", 300_000, 1, MAX_DELAY_MS),
    idleMs: count("idleMs", 30_000, 1, MAX_DELAY_MS / 2),
  };
}
