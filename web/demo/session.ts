import { DbClient, WorkerError } from "./db-client.ts";
import { type ErrorFields, fieldsOf, type News, type OpenOptions } from "./messages.ts";
import { wipe } from "./place.ts";

/** `shut`: the notes could not be opened. */
export type State = "opening" | "waiting" | "open" | "restoring" | "wiping" | "wiped" | "shut";

export interface SessionHost {
  onState(state: State): void;
  onNews(news: News): void;
  onError(error: ErrorFields): void;
}

const WAIT_MS = 5000;
/** As long as timers go, milliseconds. */
const FOR_EVER_MS = 2 ** 31 - 1;

/** The life of the worker that has the notes: it is started, killed, replaced. */
export class Session {
  readonly #host: SessionHost;
  #client: DbClient | null = null;
  #state: State = "opening";
  offline = false;

  constructor(host: SessionHost) {
    this.#host = host;
  }

  get state(): State {
    return this.#state;
  }

  get client(): DbClient {
    if (this.#client === null) throw new WorkerError({ name: "Error", message: "The notes are not open." });
    return this.#client;
  }

  /** Opens the notes in a new worker; one that is there is killed. Resolves with whether they are open. */
  async open(options: Partial<OpenOptions> = {}): Promise<boolean> {
    this.#end(
      options.overwrite === true ? "restoring" : options.waitMs === undefined ? "opening" : "waiting",
    );
    const client: DbClient = new DbClient((news) => {
      if (client === this.#client) this.#host.onNews(news);
    });
    this.#client = client;
    const replica = new URL("/replica/", location.href).href;
    const defaults = { replica, waitMs: WAIT_MS, overwrite: false, onUnknownLocal: "error" } as const;
    try {
      await client.call("open", { ...defaults, offline: this.offline, ...options });
      if (client !== this.#client) return false;
      this.#change("open");
      return true;
    } catch (error) {
      if (client === this.#client) this.#failed(error);
      return false;
    }
  }

  /** Once the tab that has them lets them go. */
  openWhenFree(): Promise<boolean> {
    return this.open({ waitMs: FOR_EVER_MS });
  }

  stopWaiting(): void {
    this.#end("shut");
  }

  /** Deletes what this browser has. */
  async wipe(): Promise<void> {
    this.#end("wiping");
    try {
      await wipe();
      this.#change("wiped");
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Puts the replica's state in place of what is here, if all that is here is in the replica. */
  async restore(): Promise<boolean> {
    if (this.#state === "open" && !(await this.client.call("stop"))) {
      await this.open();
      this.#host.onError({ name: "NotUploaded", message: "Some commits are only here." });
      return false;
    }
    return this.open({ overwrite: true });
  }

  #failed(error: unknown): void {
    this.#end("shut");
    this.#host.onError(error instanceof WorkerError ? error.fields : fieldsOf(error));
  }

  #end(state: State): void {
    const client = this.#client;
    this.#client = null;
    client?.end();
    this.#change(state);
  }

  #change(state: State): void {
    this.#state = state;
    this.#host.onState(state);
  }
}
