import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { BlockOrder, BlockThreads } from "../src/block-threads.ts";
import { requireContentSize } from "../src/format/zstd-frame.ts";
import { REQUEST_SIZE } from "../src/restore.ts";
import { source } from "./block-worker.ts";

/** Bytes of frames from which on threads save more time than their start takes, about 50 ms of a processor each. */
const WORTH_BYTES = 24 << 20;
const MOST_WORKERS = 3;
/** Pieces of memory that are lent: three are being filled, two being read. */
const PIECES = 5;

interface Answer {
  readonly id: number;
  readonly error?: string;
}

interface Waiting {
  resolve(): void;
  reject(error: Error): void;
}

/** What threads need of it; tests put others here. */
export interface Machine {
  readonly processors: number;
  /** The path of a library that `require` takes. Throws where there is none. */
  resolve(library: string): string;
}

const thisMachine: Machine = {
  get processors() {
    return availableParallelism();
  },
  resolve: (library) => createRequire(import.meta.url).resolve(library),
};

/**
 * Worker threads that write to `fd`, one a processor; `onWritten` hears of the bytes. Null for little, on a single processor,
 * where threads are not permitted, and where the libraries are no files: bundled with the application, say.
 */
export function openThreads(
  bytes: number,
  fd: number,
  onWritten: (bytes: number) => void,
  machine: Machine = thisMachine,
): BlockThreads | null {
  const count = Math.min(MOST_WORKERS, machine.processors);
  if (bytes < WORTH_BYTES || count < 2) return null;
  const workers: BlockWorker[] = [];
  try {
    const data = { fd, zstd: machine.resolve("@bokuweb/zstd-wasm"), xxhash: machine.resolve("xxhash-wasm") };
    for (let i = 0; i < count; i++) workers.push(new BlockWorker(data));
  } catch {
    for (const worker of workers) void worker.end();
    return null;
  }
  const memory = new LentMemory();
  return {
    lend: () => memory.lend(),
    giveBack: (piece) => memory.giveBack(piece),
    async write(order) {
      requireContentSize(order.frame, order.layout.rawLength);
      const idlest = workers.reduce((least, worker) => (worker.pending < least.pending ? worker : least));
      await idlest.write(order);
      for (const { count } of order.runs) onWritten(count * order.layout.pageSize);
    },
    async end() {
      await Promise.all(workers.map((worker) => worker.end()));
    },
  };
}

class LentMemory {
  readonly #free: Uint8Array[] = [];
  readonly #waiting: ((piece: Uint8Array) => void)[] = [];
  #made = 0;

  async lend(): Promise<Uint8Array> {
    const piece = this.#free.pop();
    if (piece !== undefined) return piece;
    if (this.#made === PIECES) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#made += 1;
    return new Uint8Array(new SharedArrayBuffer(REQUEST_SIZE));
  }

  giveBack({ buffer }: Uint8Array): void {
    const piece = new Uint8Array(buffer);
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(piece);
    else next(piece);
  }
}

class BlockWorker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  /** Why it answers no more. */
  #failure: Error | null = null;

  constructor(data: { readonly fd: number; readonly zstd: string; readonly xxhash: string }) {
    this.#worker = new Worker(source, { eval: true, workerData: data, execArgv: [] });
    this.#worker.on("message", ({ id, error }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve();
      else waiting?.reject(new Error(error));
    });
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the worker thread has ended")));
  }

  /** One that answers no more is the last to be asked. */
  get pending(): number {
    return this.#failure === null ? this.#waiting.size : Number.POSITIVE_INFINITY;
  }

  write({ frame, layout, runs }: BlockOrder): Promise<void> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const id = this.#next++;
    // A view would be sent with all that it is a view of, but for shared memory.
    this.#worker.postMessage({ id, frame, layout: { ...layout, hashes: layout.hashes.slice() }, runs });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}
