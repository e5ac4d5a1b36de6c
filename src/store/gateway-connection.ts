import { StoreError, type StoreErrorKind } from "../errors.ts";
import { readRefusal } from "./gateway-answers.ts";
import type { FetchInit, FetchResponse, GatewaySettings } from "./gateway-config.ts";
import { PROTOCOL_HEADER, PROTOCOL_VERSION, type Refusal, type Verb } from "./gateway-protocol.ts";
import { type IdleWatch, unlessAborted } from "./idle-watch.ts";
import { withoutSecrets } from "./secrets.ts";

/** One request. `key` is the object that it is about, for errors. */
export interface Call {
  readonly verb: Verb;
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** With a body, even an empty one, or for a verb that changes something: POST. */
  readonly post?: Uint8Array | string;
}

const kinds: Readonly<Record<StoreErrorKind, true>> = {
  "not-found": true,
  "precondition-failed": true,
  "no-such-bucket": true,
  "access-denied": true,
  "expired-credentials": true,
  "clock-skew": true,
  throttled: true,
  unavailable: true,
  network: true,
  "no-space": true,
  "invalid-request": true,
};

/** All requests of a GatewayStore go through here, and so does every error. */
export class GatewayConnection {
  readonly #settings: GatewaySettings;

  constructor(settings: GatewaySettings) {
    this.#settings = settings;
  }

  get url(): string {
    return this.#settings.url;
  }

  /**
   * The answer, if it is a success of a gateway. Throws StoreError, or the reason for which the watch ended it. "network"
   * leaves it open whether the request was carried out.
   */
  async send(call: Call, watch: IdleWatch): Promise<FetchResponse> {
    const { url, credentials, fetch } = this.#settings;
    const headers = { ...(await this.#headers(call, watch)), [PROTOCOL_HEADER]: PROTOCOL_VERSION };
    const init: FetchInit = {
      method: call.post === undefined ? "GET" : "POST",
      headers,
      credentials,
      redirect: "manual",
      cache: "no-store",
      signal: watch.signal,
      ...(call.post !== undefined && { body: call.post }),
    };
    const query = { verb: call.verb, ...(call.key !== undefined && { key: call.key }), ...call.query };
    watch.expectProgress(call.post?.length ?? 0);
    try {
      const request = fetch(`${url}?${new URLSearchParams(query)}`, init);
      const response = await unlessAborted(request, watch.signal);
      if (isGenuine(response) && response.status === 200) return response;
      throw await this.#refusal(call, response, watch);
    } catch (thrown) {
      throw this.failure(call, thrown, watch);
    } finally {
      watch.rest();
    }
  }

  /** The same, with what `read` makes of the answer's JSON. Null is none. */
  async json<T>(call: Call, read: (value: unknown) => T | null, watch: IdleWatch): Promise<T> {
    const response = await this.send(call, watch);
    watch.expectProgress();
    try {
      const answer = read(JSON.parse(await unlessAborted(response.text(), watch.signal)));
      if (answer !== null) return answer;
      throw this.#error(call, "unavailable", "the gateway's answer is not one of this release");
    } catch (thrown) {
      throw this.failure(call, thrown, watch);
    } finally {
      watch.rest();
    }
  }

  /** What to throw for what `fetch` or a body threw: no more is known than that the answer did not come. */
  failure(call: Call, thrown: unknown, watch: IdleWatch): unknown {
    if (watch.signal.aborted) return watch.signal.reason;
    if (thrown instanceof StoreError) return thrown;
    return this.#error(
      call,
      "network",
      "the gateway cannot be reached, does not allow this page's origin, or its answer was cut short",
    );
  }

  async #headers(call: Call, watch: IdleWatch): Promise<Record<string, string>> {
    try {
      const headers = await unlessAborted(Promise.resolve(this.#settings.headers()), watch.signal);
      // Else `fetch` would throw what it throws without a network.
      if (!areHeaders(headers)) throw new RangeError();
      return headers;
    } catch (thrown) {
      if (watch.signal.aborted) throw watch.signal.reason;
      if (thrown instanceof StoreError) throw thrown;
      // A token that could not be fetched: `fetch` throws a TypeError when there is no network.
      const kind = thrown instanceof TypeError ? "network" : "access-denied";
      throw this.#error(
        call,
        kind,
        `\`headers\` failed: ${thrown instanceof Error ? thrown.name : "unknown"}`,
      );
    }
  }

  async #refusal(call: Call, response: FetchResponse, watch: IdleWatch): Promise<StoreError> {
    if (!isGenuine(response)) return this.#foreign(call, response);
    const refusal = readRefusal(JSON.parse(await unlessAborted(response.text(), watch.signal)));
    const { kind = "", message = "the gateway refuses" } = refusal;
    const known = Object.hasOwn(kinds, kind) ? (kind as StoreErrorKind) : "unavailable";
    return this.#error(call, known, withoutSecrets(message), response.status, refusal);
  }

  /** Something between us and the gateway answered, or there is none: never to be taken for what a gateway says. */
  #foreign(call: Call, { status, type, headers, body }: FetchResponse): StoreError {
    // Not read, it would keep its connection.
    body?.cancel().catch(() => undefined);
    const redirects = type === "opaqueredirect" || (status >= 300 && status < 400);
    if (redirects)
      return this.#error(
        call,
        "access-denied",
        "the server redirects. Is the session over, or the URL wrong?",
      );
    const retryAfter = /^\d+$/.exec(headers.get("retry-after")?.trim() ?? "");
    const refusal = retryAfter === null ? {} : { retryAfterMs: Number(retryAfter[0]) * 1000 };
    const [kind, words] = foreignKind(status);
    return this.#error(
      call,
      kind,
      `${words} (HTTP ${status}, and not from a Sluice gateway)`,
      status,
      refusal,
    );
  }

  #error(
    { verb, key }: Call,
    kind: StoreErrorKind,
    words: string,
    status?: number,
    refusal: Partial<Refusal> = {},
  ): StoreError {
    const subject = refusal.key ?? key;
    const { retryAfterMs } = refusal;
    return new StoreError(
      kind,
      `${verb}${subject === undefined ? "" : ` ${subject}`}: ${words}, ${this.url}`,
      {
        ...(subject === undefined ? {} : { key: subject }),
        ...(status === undefined ? {} : { status }),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      },
    );
  }
}

function areHeaders(headers: Record<string, string>): boolean {
  try {
    return typeof headers === "object" && new Headers(headers) !== null;
  } catch {
    return false;
  }
}

function isGenuine({ headers }: FetchResponse): boolean {
  return headers.get(PROTOCOL_HEADER) === PROTOCOL_VERSION;
}

function foreignKind(status: number): [StoreErrorKind, string] {
  if (status === 401 || status === 403) return ["access-denied", "access denied"];
  if (status === 413) return ["invalid-request", "a proxy takes no body of this size; lower `partBytes`"];
  if (status === 408 || status === 429 || status === 503) return ["throttled", "a server asks for patience"];
  // A success that cannot be read, such as the page of a hotel's network, may be another answer next time.
  if (status >= 500 || status < 300) return ["unavailable", "there is something else"];
  return ["invalid-request", "there is no gateway"];
}
