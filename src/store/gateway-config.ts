import { checkChoice, checkString, refuseUnknown } from "../config.ts";
import { ConfigError } from "../errors.ts";

/** How to speak to a gateway, beside its URL. */
export interface GatewayConfig {
  /** Headers for the app's own authorisation; called for each request. What it throws fails that request. */
  readonly headers?: () => Record<string, string> | Promise<Record<string, string>>;
  /** Whether cookies go along, as `fetch` has it. Default "same-origin". */
  readonly credentials?: "same-origin" | "include" | "omit";
}

/** Of a GatewayStore that is made directly. */
export interface GatewayStoreOptions extends GatewayConfig {
  /** In place of the global `fetch`. */
  readonly fetch?: Fetch;
}

/** The part of `fetch` that is used. */
export type Fetch = (url: string, init: FetchInit) => Promise<FetchResponse>;
export interface FetchInit {
  method: "GET" | "POST";
  headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: bytes or text, whose types are those of Node or the browser.
  body?: any;
  credentials: "same-origin" | "include" | "omit";
  /** A redirect would carry the app's headers to who knows whom. */
  redirect: "manual";
  cache: "no-store";
  // biome-ignore lint/suspicious/noExplicitAny: an AbortSignal, of whose type there are two.
  signal: any;
}
export interface FetchResponse {
  readonly status: number;
  readonly type: string;
  readonly headers: { get(name: string): string | null };
  // biome-ignore lint/suspicious/noExplicitAny: a ReadableStream, of whose type there are two.
  readonly body: any;
  text(): Promise<string>;
}

export interface GatewaySettings {
  /** Without a query. */
  readonly url: string;
  readonly headers: () => Record<string, string> | Promise<Record<string, string>>;
  readonly credentials: "same-origin" | "include" | "omit";
  readonly fetch: Fetch;
}

const fields = ["headers", "credentials", "fetch"] as const satisfies readonly (keyof GatewayStoreOptions)[];
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])$/;

/** Throws ConfigError naming the field. */
export function checkGatewayConfig(url: unknown, options: GatewayStoreOptions): GatewaySettings {
  refuseUnknown(options, fields, "gateway");
  return {
    url: checkGatewayUrl(checkString("replica", url)),
    headers: checkFunction("headers", options.headers) ?? (() => ({})),
    credentials: checkChoice("credentials", options.credentials, ["same-origin", "include", "omit"]),
    // Called as a plain function: browsers refuse a `fetch` that is called as a method.
    fetch: checkFunction("fetch", options.fetch) ?? ((request, init) => fetch(request, init)),
  };
}

function checkGatewayUrl(text: string): string {
  // No user, no query: they could be secrets.
  const parts = /^https?:\/\/[^/?#@\\\s]+(\/[^?#@\\\s]*)?$/i.test(text) ? parseUrl(text) : null;
  if (parts === null)
    throw new ConfigError("replica", "must look like https://host/path/, without user, password and query");
  if (parts.protocol === "http:" && !LOOPBACK.test(parts.hostname))
    throw new ConfigError("replica", "must be https://; http:// is for this machine only, such as localhost");
  return parts.origin + parts.pathname;
}

function parseUrl(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

function checkFunction<T>(field: string, value: T | undefined): T | undefined {
  if (value === undefined || typeof value === "function") return value;
  throw new ConfigError(field, "must be a function");
}
