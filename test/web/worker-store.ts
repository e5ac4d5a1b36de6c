import { StoreError, type StoreErrorKind } from "../../src/errors.ts";
import type { ListOptions, ObjectInfo, ObjectStore } from "../../src/store/object-store.ts";
import type { S3StoreConfig } from "../../src/store/s3-config.ts";
import { Remote } from "./remote.ts";

/** The store of s3.worker.ts as the page sees it: every call is made in the worker. */
export interface WorkerStore extends ObjectStore {
  /** Whether that worker has the DOM's parser, which the AWS SDK's browser build asks for. */
  readonly hasDom: boolean;
}

export class StoreWorker {
  readonly #worker = new Worker(new URL("./s3.worker.ts", import.meta.url), { type: "module" });
  readonly #remote = new Remote(this.#worker, null, rebuild);

  async open(config: S3StoreConfig): Promise<WorkerStore> {
    const store = (await this.#remote.call(config)) as WorkerStore & {
      list(prefix: string, options: ListOptions): Promise<AsyncIterable<ObjectInfo>>;
    };
    return {
      ...store,
      async *list(prefix, options = {}) {
        yield* await store.list(prefix, options);
      },
    };
  }

  end(): void {
    this.#worker.terminate();
  }
}

function rebuild(thrown: object): unknown {
  const { code, kind, message, detail } = thrown as Partial<StoreError> & { message: string };
  if (code === "SLUICE_STORE") return new StoreError(kind as StoreErrorKind, message, detail);
  return Object.assign(new Error(message), thrown);
}
