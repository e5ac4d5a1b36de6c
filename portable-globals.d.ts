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
  readonly hostname: string;
  readonly pathname: string;
  readonly searchParams: { get(name: string): string | null; keys(): Iterable<string> };
}
declare namespace WebAssembly {
  interface Memory {
    readonly buffer: ArrayBuffer;
  }
}
declare var crypto: { getRandomValues<T extends Uint8Array>(array: T): T };
