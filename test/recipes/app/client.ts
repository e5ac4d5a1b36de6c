import type { Answer, Question, Statement } from "./db.worker.ts";

type Rows = unknown[][];
type Call = Question & { resolve(rows: Rows[]): void; reject(error: Error): void };

/** A page's side of the database. */
export class Client {
  readonly #calls = new Map<number, Call>();
  #port: MessagePort | null = null;
  #open = false;
  #last = 0;

  /** One transaction. Resolves with the rows of each statement; before there is a database, it waits. */
  run(...statements: Statement[]): Promise<Rows[]> {
    return new Promise((resolve, reject) => {
      const call = { id: ++this.#last, statements, resolve, reject };
      this.#calls.set(call.id, call);
      this.#send(call);
    });
  }

  /** Returns the port for the worker. What was sent over an earlier one may have been committed, or not. */
  connect(): MessagePort {
    if (this.#open) this.#fail(new Error("the tab with the database has gone; look what was done"), "GONE");
    this.#open = false;
    this.#port?.close();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = ({ data }: MessageEvent<Answer | "open">) => {
      if (data !== "open") return this.#settle(data);
      this.#open = true;
      for (const call of this.#calls.values()) this.#send(call);
    };
    return port2;
  }

  #send({ id, statements }: Question): void {
    if (this.#open) this.#port?.postMessage({ id, statements } satisfies Question);
  }

  #settle({ id, rows, error }: Answer): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (rows !== undefined) call?.resolve(rows);
    else call?.reject(Object.assign(new Error(error?.message), error));
  }

  #fail(error: Error, code: string): void {
    for (const { reject } of this.#calls.values()) reject(Object.assign(error, { code }));
    this.#calls.clear();
  }
}
