import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Codecs, Unpacker } from "../src/format/codecs.ts";
import { requireContentSize } from "../src/format/zstd-frame.ts";

/** Bytes of frames from which on a worker saves more time than its start takes, about 50 ms of a processor. */
const WORTH_BYTES = 24 << 20;
const MOST_WORKERS = 3;
/** Frames that wait for one worker. What comes beyond them the calling thread unpacks, which would wait for it otherwise. */
const MOST_PENDING = 5;

/**
 * What a worker runs: source text, since a file of its own would have to be found beside whatever bundle this is in. It is
 * given the path of the library, and answers each frame with what it unpacks to, or why it does not.
 */
const source = `
const { parentPort, workerData } = require("node:worker_threads");
const zstd = require(workerData);
zstd.init().then(() => parentPort.on("message", ({ id, frame }) => {
  try {
    const raw = zstd.decompress(frame);
    parentPort.postMessage({ id, raw }, [raw.buffer]);
  } catch (error) {
    parentPort.postMessage({ id, error: String(error) });
  }
}));
`;

interface Answer {
  readonly id: number;
  readonly raw?: Uint8Array;
  readonly error?: string;
}

/**
 * Worker threads that unpack by WebAssembly, where Node has no zstd of its own. Null for little, on a single processor,
 * where threads are not permitted, and where the library is no file: bundled with the application, say.
 */
export function openWorkers(bytes: number, decompress: Codecs["decompress"]): Unpacker | null {
  const count = Math.min(MOST_WORKERS, availableParallelism() - 1);
  if (bytes < WORTH_BYTES || count < 1) return null;
  const workers: UnpackWorker[] = [];
  try {
    const library = createRequire(import.meta.url).resolve("@bokuweb/zstd-wasm");
    for (let i = 0; i < count; i++) workers.push(new UnpackWorker(library));
  } catch {
    for (const worker of workers) void worker.end();
    return null;
  }
  return {
    async unpack(frame, rawLength) {
      requireContentSize(frame, rawLength); // The library allocates whatever the frame states.
      const idlest = workers.reduce((least, worker) => (worker.pending < least.pending ? worker : least));
      return idlest.pending < MOST_PENDING ? idlest.unpack(frame) : decompress(frame, rawLength);
    },
    async end() {
      await Promise.all(workers.map((worker) => worker.end()));
    },
  };
}

class UnpackWorker {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve(raw: Uint8Array): void; reject(error: Error): void }>();
  #next = 0;
  /** Why it answers no more. */
  #failure: Error | null = null;

  constructor(library: string) {
    this.#worker = new Worker(source, { eval: true, workerData: library, execArgv: [] });
    this.#worker.on("message", ({ id, raw, error }: Answer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (raw !== undefined) waiting?.resolve(raw);
      else waiting?.reject(new Error(error));
    });
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the worker thread has ended")));
  }

  get pending(): number {
    return this.#waiting.size;
  }

  unpack(frame: Uint8Array): Promise<Uint8Array> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const id = this.#next++;
    // A view would be sent with all that it is a view of.
    const copy = new Uint8Array(frame);
    this.#worker.postMessage({ id, frame: copy }, [copy.buffer]);
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
