/** Milliseconds since it was started; Infinity once nobody knows. */
export type Stopwatch = () => number;

/** How far the clocks of a machine may part before one of them was set or stood still, milliseconds. */
const MAX_PARTED_MS = 60_000;

/**
 * Starts stopwatches for what is safe only for some time, over two clocks of a machine: the wall clock, which can be set
 * while the machine sleeps, and one that is never set, but in browsers mostly stands still then. Either alone can say that
 * nothing passed while hours did. Where they part, so one did what the other did not, and how long it was is not known.
 */
export function stopwatches(wall: () => number, running: () => number): () => Stopwatch {
  return () => {
    const [wallBegin, runningBegin] = [wall(), running()];
    return () => {
      const [byWall, byRunning] = [wall() - wallBegin, running() - runningBegin];
      return Math.abs(byWall - byRunning) > MAX_PARTED_MS
        ? Number.POSITIVE_INFINITY
        : Math.max(byWall, byRunning);
    };
  };
}
