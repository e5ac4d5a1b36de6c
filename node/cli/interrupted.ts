import { constants } from "node:os";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Somebody asked the process to end, and work that had not come to its end was given up for it. */
export class Interrupted extends Error {
  /** The one that shells give to a process which the signal ended. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super("interrupted");
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Resolves when somebody asks the process to end. A second signal ends it as it always does. */
export function interrupted(): Promise<Interrupted> {
  return new Promise((resolve) => listen(resolve));
}

/**
 * Runs work that leaves something to tidy up: a signal aborts it instead of ending the process at once. Throws Interrupted
 * where the work then fails. A second signal ends the process as it always does.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const end = new AbortController();
  const unlisten = listen((reason) => end.abort(reason));
  try {
    return await work(end.signal);
  } catch (error) {
    end.signal.throwIfAborted();
    throw error;
  } finally {
    unlisten();
  }
}

/** Calls back once. Returns what ends listening. */
function listen(callback: (reason: Interrupted) => void): () => void {
  const unlisten = () => {
    for (const signal of SIGNALS) process.off(signal, end);
  };
  const end = (signal: NodeJS.Signals) => {
    unlisten();
    callback(new Interrupted(signal));
  };
  for (const signal of SIGNALS) process.on(signal, end);
  return unlisten;
}
