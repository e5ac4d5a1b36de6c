import type { ObjectStore } from "../../src/store/object-store.ts";
import type { SqliteReplicatorConfig, WebReplicationStatus } from "../../web/replicator.ts";
import type { DbCalls } from "./db.worker.ts";
import { rebuildError, sent } from "./page-store.ts";
import { Remote } from "./remote.ts";

/** Milliseconds: less than a test has, so that a call without an answer says which it was. */
const ANSWER_MS = 50_000;

/** The page's side of db.worker.ts. */
export class DbWorker {
  readonly worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
  readonly #remote = new Remote(this.worker, null, rebuildError);

  #ended = false;

  async call(name: keyof DbCalls, ...args: unknown[]): Promise<unknown> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => {
        if (!this.#ended) void this.#explain(name).then(reject);
      }, ANSWER_MS);
    });
    return Promise.race([this.#remote.call(name, ...args), late]).finally(() => clearTimeout(timer));
  }

  async #explain(name: string): Promise<Error> {
    const status = this.#remote.call("status").then(JSON.stringify, String);
    const silence = new Promise((resolve) => setTimeout(resolve, 1000, "it does not answer anything"));
    return new Error(
      `the worker has not answered ${name} in ${ANSWER_MS} ms: ${await Promise.race([status, silence])}`,
    );
  }

  create(
    config: Omit<SqliteReplicatorConfig, "dbPath"> & { readonly dbPath?: string },
    store: ObjectStore | null,
    ownPool?: { directory: string },
  ): Promise<unknown> {
    return this.call("create", { dbPath: "/data.db", ...config }, store && sent(store), ownPool);
  }

  /** Ends the worker at a fault point. What is under way then is never answered. */
  async endAt(point: string, passes = 1): Promise<{ ended: Promise<void> }> {
    await this.call("standStillAt", point, passes);
    const ended = new Promise<void>((resolve) =>
      this.worker.addEventListener("message", ({ data }) => {
        if (data.reached !== point) return;
        this.end();
        resolve();
      }),
    );
    return { ended };
  }

  async status(): Promise<WebReplicationStatus> {
    return (await this.call("status")) as WebReplicationStatus;
  }

  async numbers(sql: string): Promise<number> {
    return Number(await this.call("value", sql));
  }

  /** Resolves with the detail when the event comes. */
  next(type: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.call("listen", [type], (_: string, detail: unknown) => resolve(detail)).catch(reject);
    });
  }

  /** As a crash would: nothing is closed. */
  end(): void {
    this.#ended = true;
    this.worker.terminate();
  }
}
