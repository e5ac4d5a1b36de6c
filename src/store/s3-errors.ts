import { StoreError, type StoreErrorKind } from "../errors.ts";
import { withoutSecrets } from "./secrets.ts";

/** What S3 and its kin answer, by code. Codes and statuses: S3's "Error responses", and those of the servers named. */
const kindOfCode: Readonly<Record<string, StoreErrorKind>> = {
  NoSuchKey: "not-found",
  NotFound: "not-found",
  NoSuchBucket: "no-such-bucket",
  PreconditionFailed: "precondition-failed",
  AccessDenied: "access-denied",
  InvalidAccessKeyId: "access-denied",
  SignatureDoesNotMatch: "access-denied",
  CredentialsProviderError: "access-denied",
  ExpiredToken: "expired-credentials",
  ExpiredTokenException: "expired-credentials",
  InvalidToken: "expired-credentials",
  TokenRefreshRequired: "expired-credentials",
  RequestTimeTooSkewed: "clock-skew",
  RequestExpired: "clock-skew",
  RequestInTheFuture: "clock-skew",
  SlowDown: "throttled",
  Throttling: "throttled",
  ThrottlingException: "throttled",
  TooManyRequests: "throttled",
  RequestLimitExceeded: "throttled",
  BandwidthLimitExceeded: "throttled",
  ServiceUnavailable: "throttled",
  // S3 waited for our bytes in vain.
  RequestTimeout: "network",
  InternalError: "unavailable",
  OperationAborted: "unavailable",
  ConditionalRequestConflict: "unavailable",
  // The upload was cleaned away under us; a new one goes through.
  NoSuchUpload: "unavailable",
  QuotaExceeded: "no-space",
  InsufficientStorage: "no-space",
  XMinioStorageFull: "no-space",
};

const kindOfStatus: Readonly<Record<number, StoreErrorKind>> = {
  401: "access-denied",
  403: "access-denied",
  404: "not-found",
  // Tigris sheds load with it.
  408: "throttled",
  409: "unavailable",
  412: "precondition-failed",
  429: "throttled",
  501: "invalid-request",
  503: "throttled",
  507: "no-space",
};

const explanation: Readonly<Record<StoreErrorKind, string>> = {
  "not-found": "it is not there",
  "precondition-failed": "it exists already, or is another version",
  "no-such-bucket": "the bucket does not exist; create it, or correct `bucket`, `endpoint` and `region`",
  "access-denied": "access denied; check the credentials and what they may do",
  "expired-credentials": "the credentials have expired",
  "clock-skew":
    "the clock of this machine differs too much from the store's; in a browser let the bucket's CORS rules expose Date",
  throttled: "the store asks for fewer requests",
  unavailable: "the store failed",
  network: "the store cannot be reached",
  "no-space": "the store or its quota is full",
  "invalid-request": "the store refuses the request",
};

/** Codes of Node's sockets, name resolution and TLS. */
const NETWORK_CODE =
  /^(ECONN|ENOTFOUND$|EAI_|ETIMEDOUT$|EPIPE$|EHOST|ENET|EADDRNOTAVAIL$|EPROTO$|ERR_TLS|ERR_SSL|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED)/;
/** What browsers and undici say when `fetch` gets no answer. */
const FETCH_FAILED = /fetch|network|load failed/i;

/** A browser does not tell a page which of these it is. */
const NO_ANSWER =
  "no answer that a page may see: the network is away, the bucket's CORS rules do not allow the request, or the store refuses " +
  "the credentials without heeding CORS";

/** What the SDK throws, as far as it is looked at. */
interface SdkError {
  readonly name?: unknown;
  readonly Code?: unknown;
  readonly code?: unknown;
  readonly message?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
  readonly $response?: { readonly statusCode?: number; readonly headers?: Readonly<Record<string, string>> };
}

/** What was asked of the store when it failed. */
export interface Attempt {
  /** As S3 calls it, such as PutObject. */
  readonly operation: string;
  readonly key?: string;
}

/**
 * Translates an error of the SDK. It is not kept as `cause`: it carries the request, its signature and the key id. The
 * server's own words are taken over without whatever could be a secret in them.
 */
export function toStoreError(thrown: unknown, { operation, key }: Attempt): StoreError {
  if (thrown instanceof StoreError) return thrown;
  const error = (typeof thrown === "object" && thrown !== null ? thrown : { message: thrown }) as SdkError;
  const status = error.$metadata?.httpStatusCode ?? error.$response?.statusCode;
  const code = codeOf(error);
  const kind = kindOf(code, status, error);
  const facts = [code, status === undefined ? "" : `HTTP ${status}`, requestId(error)].filter(
    (fact) => fact !== "",
  );
  const words = wordsOf(error);
  const what = kind === "network" && isFetchFailure(error) ? NO_ANSWER : explanation[kind];
  const message =
    `${operation}${key === undefined ? "" : ` ${key}`}: ${what}` +
    `${facts.length === 0 ? "" : ` (${facts.join(", ")})`}${words === "" ? "" : `: ${words}`}`;
  const retryAfterMs = retryAfter(error.$response?.headers);
  return new StoreError(kind, message, {
    ...(key === undefined ? {} : { key }),
    ...(status === undefined ? {} : { status }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** An answer lacks a header that S3 always sends: a browser shows a page only those that CORS rules expose. */
export function hiddenHeader(name: string, key?: string): StoreError {
  const detail = key === undefined ? {} : { key };
  const whose = key === undefined ? "" : `${key}: `;
  return new StoreError(
    "invalid-request",
    `${whose}no ${name} in the store's answer. In a browser: let the bucket's CORS rules expose ${name}`,
    detail,
  );
}

/** What a credential provider threw: "network" where it could not reach whom it asks, else "access-denied". */
export function toCredentialsError(thrown: unknown): StoreError {
  const error = (typeof thrown === "object" && thrown !== null ? thrown : { message: thrown }) as SdkError;
  const words = wordsOf(error);
  const kind = isNetworkFailure(error) ? "network" : "access-denied";
  return new StoreError(kind, `the provider of credentials failed${words === "" ? "" : `: ${words}`}`);
}

/**
 * True where other keys may help: these have expired, were withdrawn, or the answer does not say. That to HEAD has no text,
 * and what Ceph answers to keys it does not know has no CORS headers, which in a browser looks like no answer.
 */
export function mayNeedNewCredentials(thrown: unknown): boolean {
  const error = thrown as SdkError | null;
  const code = codeOf(error ?? {});
  if (kindOfCode[code] === "expired-credentials") return true;
  if (code === "InvalidAccessKeyId" || code === "SignatureDoesNotMatch") return true;
  return (code === "" && error?.$metadata?.httpStatusCode === 403) || isFetchFailure(error ?? {});
}

/** The kind that a code of S3 stands for; that of DeleteObjects comes without a status. */
export function kindOfDeleteError(code: string): StoreErrorKind {
  return kindOfCode[code] ?? "invalid-request";
}

function kindOf(code: string, status: number | undefined, error: SdkError): StoreErrorKind {
  const known = Object.hasOwn(kindOfCode, code) ? kindOfCode[code] : undefined;
  if (known !== undefined) return known;
  if (status === undefined) return isNetworkFailure(error) ? "network" : "invalid-request";
  // A success that cannot be read, such as the page of a hotel's network, may be another answer next time.
  return kindOfStatus[status] ?? (status >= 500 || status < 300 ? "unavailable" : "invalid-request");
}

function isNetworkFailure({ name, code, message }: SdkError): boolean {
  if (typeof code === "string" && NETWORK_CODE.test(code)) return true;
  if (name === "TimeoutError" || name === "NetworkError") return true;
  return /socket hang up/.test(String(message)) || isFetchFailure({ name, message });
}

function isFetchFailure({ name, message }: SdkError): boolean {
  return name === "TypeError" && FETCH_FAILED.test(String(message));
}

/** The code of S3 or of the socket. "Unknown" and "Error" are what the SDK and JavaScript put where there is none. */
function codeOf({ name, Code, code }: SdkError): string {
  for (const candidate of [Code, code, name]) {
    if (
      typeof candidate === "string" &&
      /^[A-Za-z]\w+$/.test(candidate) &&
      !/^(Unknown|Error)$/.test(candidate)
    ) {
      return candidate;
    }
  }
  return "";
}

function requestId({ $metadata }: SdkError): string {
  const id = $metadata?.requestId;
  return typeof id === "string" && /^[\w:.-]{1,80}$/.test(id) ? `request ${id}` : "";
}

/** Milliseconds, from seconds or a date (RFC 9110, 10.2.3). */
function retryAfter(headers: Readonly<Record<string, string>> | undefined): number | undefined {
  const value = headers?.["retry-after"];
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value.trim())) return Number(value) * 1000;
  const until = Date.parse(value) - (Date.parse(headers?.date ?? "") || Date.now());
  return Number.isNaN(until) ? undefined : Math.max(0, until);
}

function wordsOf({ message }: SdkError): string {
  const words = withoutSecrets(String(message ?? ""));
  return /^(Unknown(Error)?)?$/.test(words) ? "" : words;
}
