import type { LifecycleMessage, LifecycleState } from "./lifecycle.ts";

/**
 * For the page: tells the worker that holds a replicator when the page is hidden, frozen or left, so that it caches and
 * uploads what it can, and when it comes back, so that it looks whether another writer took over. Nothing is let go: a page
 * in the back/forward cache comes back with its file handles, and the browser evicts it when another tab wants them.
 * Returns what ends it, for a worker that is replaced.
 */
export function forwardLifecycle(worker: Pick<Worker, "postMessage">): () => void {
  const tell = (sluice: LifecycleState) => worker.postMessage({ sluice } satisfies LifecycleMessage);
  const onVisibility = () => {
    if (document.visibilityState === "hidden") tell("hidden");
  };
  const onHide = () => tell("hidden");
  const onShow = (event: PageTransitionEvent) => {
    if (event.persisted) tell("resumed");
  };
  const onResume = () => tell("resumed");
  document.addEventListener("visibilitychange", onVisibility);
  document.addEventListener("freeze", onHide);
  document.addEventListener("resume", onResume);
  window.addEventListener("pagehide", onHide);
  window.addEventListener("pageshow", onShow);
  return () => {
    document.removeEventListener("visibilitychange", onVisibility);
    document.removeEventListener("freeze", onHide);
    document.removeEventListener("resume", onResume);
    window.removeEventListener("pagehide", onHide);
    window.removeEventListener("pageshow", onShow);
  };
}

/**
 * For the page, since workers may not ask: that the browser does not clear this site's storage when it needs room. Some
 * browsers ask the user; call it where that is expected. Resolves with whether it is granted.
 */
export async function persistStorage(): Promise<boolean> {
  const { storage } = navigator;
  return (await storage?.persisted?.()) || (await storage?.persist?.()) || false;
}
