import { StoreError } from "../errors.ts";
import type { IdleWatch } from "./idle-watch.ts";
import type { S3Connection } from "./s3-connection.ts";
import { kindOfDeleteError } from "./s3-errors.ts";
import type { S3DeleteOutput, S3ObjectInput, S3Sdk } from "./s3-sdk.ts";

/** S3's limit for one DeleteObjects. */
const BATCH = 1000;
/** Requests at a time where each key takes its own. */
const SINGLES_AT_A_TIME = 16;

/** A key as the caller knows it, and where it lies. */
type Target = readonly [key: string, where: S3ObjectInput];

/**
 * Deletes by batches. All are tried, unless the store cannot be reached or refuses a batch and then its first key too; then
 * the first failure is thrown.
 */
export async function deleteObjects(
  connection: S3Connection,
  targets: ReadonlyMap<string, S3ObjectInput>,
  watchRequest: () => IdleWatch,
): Promise<void> {
  const deletion = new Deletion(connection, watchRequest);
  const all = [...targets];
  for (let at = 0; at < all.length; at += BATCH) await deletion.batch(all.slice(at, at + BATCH));
  if (deletion.failures.length > 0) throw deletion.failures[0];
}

class Deletion {
  readonly failures: StoreError[] = [];
  readonly #connection: S3Connection;
  readonly #watchRequest: () => IdleWatch;

  constructor(connection: S3Connection, watchRequest: () => IdleWatch) {
    this.#connection = connection;
    this.#watchRequest = watchRequest;
  }

  async batch(targets: readonly Target[]): Promise<void> {
    const [[first, { Bucket }]] = targets as [Target];
    const Objects = targets.map(([, { Key }]) => ({ Key }));
    const make = (sdk: S3Sdk) => new sdk.DeleteObjectsCommand({ Bucket, Delete: { Quiet: true, Objects } });
    try {
      const { Errors = [] } = await this.#send<S3DeleteOutput>("DeleteObjects", first, make);
      for (const { Key, Code = "" } of Errors) {
        const key = targets.find(([, where]) => where.Key === Key)?.[0] ?? first;
        if (Code !== "NoSuchKey") {
          this.failures.push(
            new StoreError(kindOfDeleteError(Code), `DeleteObjects ${key}: ${Code}`, { key }),
          );
        }
      }
    } catch (error) {
      // Some servers do not have it, or not for these headers or keys: Content-MD5, control characters. Ceph 16 asks a
      // policy that allows s3:DeleteObject under a prefix for the whole bucket.
      if (isRefusal(error)) await this.#singly(targets);
      else this.#note(error);
    }
  }

  async #singly([first, ...rest]: readonly Target[]): Promise<void> {
    if (first === undefined || !(await this.#one(first))) return;
    for (let at = 0; at < rest.length; at += SINGLES_AT_A_TIME) {
      await Promise.all(rest.slice(at, at + SINGLES_AT_A_TIME).map((target) => this.#one(target)));
    }
  }

  /** False where this way is refused too. */
  async #one([key, where]: Target): Promise<boolean> {
    try {
      await this.#send("DeleteObject", key, (sdk) => new sdk.DeleteObjectCommand(where));
    } catch (error) {
      if (error instanceof StoreError && error.kind === "not-found") return true;
      this.#note(error);
      return !isRefusal(error);
    }
    return true;
  }

  #note(error: unknown): void {
    if (!(error instanceof StoreError) || error.transient) throw error;
    this.failures.push(error);
  }

  async #send<Output>(operation: string, key: string, make: (sdk: S3Sdk) => object): Promise<Output> {
    const watch = this.#watchRequest();
    return this.#connection.send<Output>(make, { operation, key }, watch).finally(() => watch.end());
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof StoreError && (error.kind === "invalid-request" || error.kind === "access-denied");
}
