import { StoreError, type StoreErrorKind } from "../errors.ts";
import { PROTOCOL_HEADER, PROTOCOL_VERSION, type Refusal } from "../store/gateway-protocol.ts";

/** Why the gateway itself refuses a request. The words are for the client. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly kind: StoreErrorKind,
    message: string,
    readonly detail: { readonly retryAfterMs?: number; readonly key?: string } = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * What the client learns of an error of the store: the kind, and nothing in the store's own words, in which there may be
 * its address, its prefix or more. A status of our own where the client could think that it was meant.
 */
const ofStore: Readonly<Record<StoreErrorKind, readonly [status: number, words: string]>> = {
  "not-found": [404, "it is not there"],
  "precondition-failed": [412, "it exists already, or is another version"],
  "invalid-request": [400, "the store refuses the request"],
  throttled: [503, "the store asks for fewer requests"],
  unavailable: [503, "the store failed"],
  network: [503, "the gateway cannot reach its store"],
  "no-space": [507, "the store or its quota is full"],
  "no-such-bucket": [502, "the gateway's bucket does not exist"],
  "access-denied": [502, "the store refuses the gateway"],
  "expired-credentials": [502, "the gateway's credentials have expired"],
  "clock-skew": [502, "the gateway's clock differs too much from the store's"],
};

/** Any error as the client may see it; the error itself becomes the cause. `key`: the object at fault, as the client names it. */
export function toRefused(error: unknown, key?: string | null): Refused {
  if (error instanceof Refused) return error;
  const detail = { ...(typeof key === "string" && { key }) };
  if (!(error instanceof StoreError))
    return new Refused(500, "unavailable", "the gateway failed", detail, { cause: error });
  const [status, words] = ofStore[error.kind];
  const { retryAfterMs } = error.detail;
  return new Refused(
    status,
    error.kind,
    words,
    { ...detail, ...(retryAfterMs !== undefined && { retryAfterMs }) },
    { cause: error },
  );
}

export function refusal({ status, kind, message, detail }: Refused): Response {
  return answer({ kind, message, ...detail } satisfies Refusal, status, detail.retryAfterMs);
}

/** An answer in JSON. */
export function answer(value: unknown, status = 200, retryAfterMs?: number): Response {
  const headers = {
    ...answerHeaders,
    "content-type": "application/json",
    ...(retryAfterMs !== undefined && { "retry-after": `${Math.ceil(retryAfterMs / 1000)}` }),
  };
  return new Response(JSON.stringify(value), { status, headers });
}

/** Of every answer. It is for this one request: nobody may keep it, or pack it otherwise. */
export const answerHeaders = {
  [PROTOCOL_HEADER]: PROTOCOL_VERSION,
  "cache-control": "no-store, no-transform",
  "x-content-type-options": "nosniff",
};
