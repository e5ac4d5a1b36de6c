/** A broken invariant of Sluice itself, never of its input. Operating errors are the classes of errors.ts. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`BUG: ${what}`);
}
