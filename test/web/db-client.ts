import type { ObjectStore } from "../../src/store/object-store.ts";
import type { SqliteReplicatorConfig, WebReplicationStatus } from "../../web/replicator.ts";
import type { DbCalls } from "./db.worker.ts";
import { rebuildError, sent } from "./page-store.ts";
import { Remote } from "./remote.ts";

/** The page's side of db.worker.ts. */
export class DbWorker {
  readonly worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
  readonly #remote = new Remote(this.worker, null, rebuildError);

  call(name: keyof DbCalls, ...args: unknown[]): Promise<unknown> {
    return this.#remote.call(name, ...args);
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
    this.worker.terminate();
  }
}
