import { StoreError } from "../errors.ts";
import { type IdleWatch, unlessAborted } from "./idle-watch.ts";
import type { S3CredentialProvider, S3Credentials, S3Settings } from "./s3-config.ts";
import {
  type Attempt,
  hiddenHeader,
  mayNeedNewCredentials,
  toCredentialsError,
  toStoreError,
} from "./s3-errors.ts";
import type { S3Client, S3Middleware, S3Runtime, S3Sdk } from "./s3-sdk.ts";

const CONNECT_TIMEOUT_MS = 10_000;

/** The SDK would write to the console what its caller learns anyway from the error. */
const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** What is done once, at most, before a request is given up. */
type Remedy = "new credentials" | "corrected clock";

/** The SDK's client: made when first used, made anew for new credentials. All requests of the store go through `send`. */
export class S3Connection {
  readonly #settings: S3Settings;
  readonly #runtime: S3Runtime;
  #sdk: Promise<S3Sdk> | null = null;
  #client: S3Client | null = null;
  #timeIsTold = false;

  constructor(settings: S3Settings, runtime: S3Runtime) {
    this.#settings = settings;
    this.#runtime = runtime;
  }

  async sdk(): Promise<S3Sdk> {
    this.#sdk ??= this.#runtime.loadSdk();
    try {
      return await this.#sdk;
    } catch (error) {
      // In a browser a chunk may fail to load, and load the next time.
      this.#sdk = null;
      throw new StoreError("network", "the AWS SDK could not be loaded", {}, { cause: error });
    }
  }

  async client(): Promise<S3Client> {
    const sdk = await this.sdk();
    const { handlerOptions } = this.#runtime;
    this.#client ??= this.#connect(sdk, { ...handlerOptions, connectionTimeout: CONNECT_TIMEOUT_MS });
    return this.#client;
  }

  /**
   * Milliseconds since 1970 by the store's clock, as of its last answer. Throws StoreError where it has not told: ages by a
   * wrong clock of ours could let objects be deleted too early.
   */
  storeTime(): number {
    if (!this.#timeIsTold) throw hiddenHeader("Date");
    return Date.now() + (this.#client?.config.systemClockOffset ?? 0);
  }

  /**
   * Sends a command; `make` makes it anew for each attempt, with a body to be read from its beginning. The SDK's own
   * retries are off: its backoff would hide outages from the caller, who has a better one. What is tried again here, and
   * once, is what a second request heals at once. Throws StoreError, or the reason for which the watch ended it.
   */
  async send<Output>(
    make: (sdk: S3Sdk) => object | Promise<object>,
    attempt: Attempt,
    watch: IdleWatch,
    bytes = 0,
  ): Promise<Output> {
    const tried = new Set<Remedy>();
    for (;;) {
      watch.expectProgress(bytes);
      let client: S3Client | null = null;
      try {
        const sdk = await unlessAborted(this.sdk(), watch.signal);
        client = await this.client();
        const answer = client.send(await make(sdk), { abortSignal: watch.signal });
        return (await unlessAborted(answer, watch.signal)) as Output;
      } catch (thrown) {
        if (watch.signal.aborted) throw watch.signal.reason;
        const error = toStoreError(thrown, attempt);
        const remedy = this.#remedyFor(error, thrown);
        if (remedy === null || tried.has(remedy)) throw error;
        tried.add(remedy);
        // Unless another request has done so already. Those under way on the old one go on.
        if (remedy === "new credentials" && this.#client === client) this.#client = null;
        if (remedy === "new credentials" && client !== null) await this.#reconnect(client);
      } finally {
        watch.rest();
      }
    }
  }

  #remedyFor(error: StoreError, thrown: unknown): Remedy | null {
    // The SDK has taken the time from the answer, and signs the next request by it.
    if (error.kind === "clock-skew") return "corrected clock";
    const { credentials } = this.#settings;
    return mayNeedNewCredentials(thrown) && typeof credentials !== "object" ? "new credentials" : null;
  }

  async #reconnect(old: S3Client): Promise<void> {
    const sdk = await this.sdk();
    this.#client ??= this.#connect(sdk, old.config.requestHandler);
  }

  #connect(sdk: S3Sdk, requestHandler: unknown): S3Client {
    const { region, endpoint, credentials, forcePathStyle } = this.#settings;
    const client = new sdk.S3Client({
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials: withTypedErrors(credentials) }),
      forcePathStyle,
      maxAttempts: 1,
      // By default the SDK appends checksums that many servers refuse. Our objects carry their own, and bytes that are
      // in memory are signed with their SHA-256.
      requestChecksumCalculation: "WHEN_REQUIRED",
      responseChecksumValidation: "WHEN_REQUIRED",
      requestHandler,
      logger: silent,
    });
    const noticeDate: S3Middleware = (next) => async (request) => {
      const result = await next(request);
      this.#timeIsTold = result.response.headers?.date !== undefined;
      return result;
    };
    client.middlewareStack.add(noticeDate, { step: "deserialize" });
    return client;
  }
}

/** A provider that fails is told apart from a store that does. */
function withTypedErrors(
  credentials: S3Credentials | S3CredentialProvider,
): S3Credentials | S3CredentialProvider {
  if (typeof credentials !== "function") return credentials;
  return (...context) =>
    credentials(...context).catch((error) => {
      throw toCredentialsError(error);
    });
}
