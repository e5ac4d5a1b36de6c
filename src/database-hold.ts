import { DatabaseInUseError } from "./errors.ts";

/** That a replicator here has the database. */
export class DatabaseHold {
  readonly #where: "process" | "worker";
  #free!: () => void;
  readonly #released = new Promise<void>((resolve) => {
    this.#free = resolve;
  });
  /** Whether the application has connections open, of a replicator that is stopped. */
  #connected: (() => boolean) | null = null;

  constructor(where: "process" | "worker") {
    this.#where = where;
  }

  outlived(connected: () => boolean): void {
    this.#connected = connected;
  }

  release(): void {
    this.#free();
  }

  /** Waits for one that is letting go: its last connection was closed just now. Throws DatabaseInUseError for one that is not. */
  async whenFree(path: string): Promise<void> {
    if (this.#connected === null) throw this.inUse(path);
    if (this.#connected())
      throw new DatabaseInUseError(path, `connections of this ${this.#where}, open since before stop()`);
    await this.#released;
  }

  inUse(path: string): DatabaseInUseError {
    return new DatabaseInUseError(path, `a replicator of this ${this.#where}`);
  }
}
