import { setMaxListeners } from "node:events";

/**
 * Each request listens to the signal of the operation that it belongs to, and some operations make dozens at a time. Node
 * would tell the application of a memory leak.
 */
export function allowManyListeners(signal: unknown): void {
  if (signal instanceof EventTarget) setMaxListeners(0, signal);
}
