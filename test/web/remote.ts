/** Where messages go and come from: a worker for its page, and its own global scope for the worker. */
export interface Port {
  postMessage(message: unknown): void;
  onmessage: ((event: MessageEvent) => void) | null;
}
type Callable = (...parameters: never[]) => unknown;
interface Message {
  readonly call?: number;
  readonly parameters?: readonly unknown[];
  readonly number: number;
  readonly answer?: unknown;
  readonly thrown?: unknown;
}

/**
 * Calls between a page and its worker. Bytes and plain values go as copies; functions, iterables, signals and whatever is
 * thrown go by reference, so that the very object comes back to whom it belongs: a test can compare it with toBe.
 */
export class Remote {
  readonly #port: Port;
  readonly #mine: unknown[] = [];
  readonly #theirs = new Map<unknown, number>();
  readonly #waiting: { resolve(value: unknown): void; reject(thrown: unknown): void }[] = [];
  readonly #rebuild: (thrown: object) => unknown;

  /** `first` is what the other side calls by `call`. `rebuild` makes an error of the fields that came. */
  constructor(port: Port, first: Callable | null, rebuild: (thrown: object) => unknown = (thrown) => thrown) {
    this.#port = port;
    this.#rebuild = rebuild;
    this.#mine.push(first);
    port.onmessage = ({ data }) => void this.#receive(data);
  }

  call(...parameters: unknown[]): Promise<unknown> {
    return this.#call(0, parameters);
  }

  #call(call: number, parameters: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const number = this.#waiting.push({ resolve, reject }) - 1;
      this.#port.postMessage({ number, call, parameters: parameters.map((each) => this.#encode(each)) });
    });
  }

  async #receive({ number, call, parameters = [], ...outcome }: Message): Promise<void> {
    if (call === undefined) {
      if ("thrown" in outcome) this.#waiting[number]?.reject(this.#decode(outcome.thrown));
      else this.#waiting[number]?.resolve(this.#decode(outcome.answer));
      return;
    }
    try {
      const answer = await (this.#mine[call] as (...all: unknown[]) => unknown)(
        ...parameters.map((each) => this.#decode(each)),
      );
      this.#port.postMessage({ number, answer: this.#encode(answer) });
    } catch (thrown) {
      this.#port.postMessage({ number, thrown: this.#reference(thrown) });
    }
  }

  #encode(value: unknown): unknown {
    if (typeof value === "function") return { mine: this.#mine.push(value) - 1 };
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || value instanceof Date)
      return value;
    if (value instanceof AbortSignal) return this.#encodeSignal(value);
    if (Symbol.asyncIterator in value)
      return { iterable: this.#encode(() => steps(value as AsyncIterable<unknown>)) };
    if (value instanceof Error) return this.#reference(value);
    if (Array.isArray(value)) return { list: value.map((each) => this.#encode(each)) };
    return { fields: Object.entries(value).map(([name, each]) => [name, this.#encode(each)]) };
  }

  // biome-ignore lint/suspicious/noExplicitAny: what #encode made.
  #decode(value: any): unknown {
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || value instanceof Date)
      return value;
    if ("mine" in value) return (...parameters: unknown[]) => this.#call(value.mine, parameters);
    if ("signal" in value) return this.#decodeSignal(value);
    if ("iterable" in value) return iterable(this.#decode(value.iterable) as () => Promise<Steps>);
    if ("list" in value) return value.list.map((each: unknown) => this.#decode(each));
    if ("fields" in value)
      return Object.fromEntries(
        value.fields.map(([name, each]: [string, unknown]) => [name, this.#decode(each)]),
      );
    return this.#dereference(value);
  }

  #encodeSignal(signal: AbortSignal): object {
    if (signal.aborted) return { signal: null, reason: this.#reference(signal.reason) };
    const listen = (abort: (reason: unknown) => Promise<unknown>) => {
      signal.addEventListener("abort", () => void abort(signal.reason));
    };
    return { signal: this.#encode(listen) };
  }

  #decodeSignal({ signal, reason }: { signal: unknown; reason: unknown }): AbortSignal {
    const aborter = new AbortController();
    if (signal === null) aborter.abort(this.#decode(reason));
    else {
      const listen = this.#decode(signal) as (abort: Callable) => Promise<unknown>;
      void listen((given: unknown) => aborter.abort(given));
    }
    return aborter.signal;
  }

  #reference(thrown: unknown): object {
    const theirs = this.#theirs.get(thrown);
    if (theirs !== undefined) return { yours: theirs };
    const fields = thrown instanceof Error ? { ...thrown, message: thrown.message, name: thrown.name } : {};
    return { thrown: this.#mine.push(thrown) - 1, copy: JSON.parse(JSON.stringify(fields)) };
  }

  // biome-ignore lint/suspicious/noExplicitAny: what #reference made.
  #dereference(value: any): unknown {
    if ("yours" in value) return this.#mine[value.yours];
    const rebuilt = this.#rebuild(value.copy);
    this.#theirs.set(rebuilt, value.thrown);
    return rebuilt;
  }
}

interface Steps {
  next(): Promise<IteratorResult<unknown>>;
  leave(): Promise<unknown>;
}

function steps(source: AsyncIterable<unknown>): Steps {
  const iterator = source[Symbol.asyncIterator]();
  return { next: () => iterator.next(), leave: async () => void (await iterator.return?.()) };
}

function iterable(open: () => Promise<Steps>): AsyncIterable<unknown> {
  return {
    [Symbol.asyncIterator]() {
      const opened = open();
      return {
        next: async () => (await opened).next(),
        return: async () => {
          await (await opened).leave();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
