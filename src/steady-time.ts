/**
 * The system's time, except that it never goes back: when the clock is set back, time goes on from where it was, or
 * everything that is due by it would wait until the clock catches up. A clock that is set forward is followed.
 */
export function steadyTime(system: () => number): () => number {
  let last = 0;
  let ahead = 0;
  return () => {
    const time = system();
    ahead = time >= last ? 0 : Math.max(ahead, last - time);
    last = time + ahead;
    return last;
  };
}
