import { forwardLifecycle } from "../page.ts";
import type { Calls } from "./calls.ts";
import type { Answer, ErrorFields, News, Question } from "./messages.ts";

/** What was thrown in the worker. */
export class WorkerError extends Error {
  readonly fields: ErrorFields;

  constructor(fields: ErrorFields) {
    super(fields.message);
    this.fields = fields;
  }
}

/** The page's side of db.worker.ts. */
export class DbClient {
  readonly #worker = new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" });
  readonly #asked = new Map<number, { resolve(result: never): void; reject(error: unknown): void }>();
  readonly #stopForwarding = forwardLifecycle(this.#worker);
  #number = 0;

  constructor(onNews: (news: News) => void) {
    this.#worker.onmessage = ({ data }: MessageEvent<Answer | News>) => {
      if ("number" in data) this.#settle(data);
      else onNews(data);
    };
    this.#worker.onerror = () => this.#fail({ name: "Error", message: "The worker did not load." });
  }

  call<K extends keyof Calls>(
    call: K,
    ...parameters: Parameters<Calls[K]>
  ): Promise<Awaited<ReturnType<Calls[K]>>> {
    return new Promise((resolve, reject) => {
      const number = this.#number++;
      this.#asked.set(number, { resolve, reject });
      this.#worker.postMessage({ number, call, parameters } satisfies Question);
    });
  }

  /** As a crash would: nothing is closed. */
  end(): void {
    this.#worker.terminate();
    this.#stopForwarding();
    this.#fail({ name: "AbortError", message: "The worker has ended." });
  }

  #settle(answer: Answer): void {
    const asked = this.#asked.get(answer.number);
    this.#asked.delete(answer.number);
    if ("thrown" in answer) asked?.reject(new WorkerError(answer.thrown));
    else asked?.resolve(answer.result as never);
  }

  #fail(fields: ErrorFields): void {
    for (const { reject } of this.#asked.values()) reject(new WorkerError(fields));
    this.#asked.clear();
  }
}
