// What src may use beyond ECMAScript: globals that Node, browsers and workers share. Only tsconfig.portable.json sees this file.
interface AbortSignal extends EventTarget {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
}
declare var AbortSignal: {
  abort(reason?: unknown): AbortSignal;
  any(signals: AbortSignal[]): AbortSignal;
  timeout(milliseconds: number): AbortSignal;
};
declare class AbortController {
  readonly signal: AbortSignal;
  abort(reason?: unknown): void;
}
declare class Event {
  constructor(type: string);
  readonly type: string;
}
interface EventListenerOptions {
  once?: boolean;
  signal?: AbortSignal;
}
declare class EventTarget {
  addEventListener(type: string, listener: (event: Event) => void, options?: EventListenerOptions): void;
  removeEventListener(type: string, listener: (event: Event) => void): void;
  dispatchEvent(event: Event): boolean;
}
declare class TextEncoder {
  encode(input: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean });
  decode(input: Uint8Array): string;
}
declare class URL {
  constructor(url: string, base?: string);
  readonly protocol: string;
  readonly origin: string;
  readonly host: string;
  readonly hostname: string;
  readonly pathname: string;
  readonly searchParams: URLSearchParams;
}
declare class URLSearchParams {
  constructor(parameters: Record<string, string> | string);
  get(name: string): string | null;
  getAll(name: string): string[];
  keys(): Iterable<string>;
  toString(): string;
}
declare class Headers {
  constructor(headers?: Record<string, string>);
  get(name: string): string | null;
  has(name: string): boolean;
  set(name: string, value: string): void;
}
declare class Request {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: ReadableStream<Uint8Array> | null;
  readonly signal: AbortSignal;
}
declare class Response {
  constructor(
    body?: string | ReadableStream<Uint8Array> | null,
    init?: { status?: number; headers?: Record<string, string> },
  );
  readonly status: number;
  readonly type: string;
  readonly headers: Headers;
  readonly body: ReadableStream<Uint8Array> | null;
  text(): Promise<string>;
}
declare class ReadableStream<T> {
  constructor(
    source: {
      pull(controller: { enqueue(chunk: T): void; close(): void }): Promise<void>;
      cancel?(): Promise<void> | void;
    },
    strategy: { highWaterMark: number },
  );
  readonly locked: boolean;
  getReader(): {
    read(): Promise<{ done: boolean; value?: T }>;
    cancel(): Promise<void>;
    releaseLock(): void;
  };
}
declare function fetch(url: string, init: object): Promise<Response>;
declare namespace WebAssembly {
  interface Memory {
    readonly buffer: ArrayBuffer;
  }
}
declare var crypto: {
  getRandomValues<T extends Uint8Array>(array: T): T;
};
