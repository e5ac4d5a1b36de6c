/**
 * What a page tells the worker that holds the replicator. `hidden`: this may have been its last moment. `resumed`: it was
 * frozen, or in the back/forward cache, and the world went on.
 */
export type LifecycleState = "hidden" | "resumed";

/** The messages, so that an app's own handlers can tell them: the only field is `sluice`. */
export interface LifecycleMessage {
  readonly sluice: LifecycleState;
}

/** Listens in a worker to what `forwardLifecycle` sends, and to the network. Returns what ends it. */
export function onLifecycle(listener: (state: LifecycleState | "online") => void): () => void {
  const onMessage = ({ data }: MessageEvent) => {
    const state = (data as Partial<LifecycleMessage> | null)?.sluice;
    if (state === "hidden" || state === "resumed") listener(state);
  };
  const onOnline = () => listener("online");
  globalThis.addEventListener("message", onMessage as EventListener);
  globalThis.addEventListener("online", onOnline);
  return () => {
    globalThis.removeEventListener("message", onMessage as EventListener);
    globalThis.removeEventListener("online", onOnline);
  };
}
