/**
 * Named points at which tests end the process or throw, to see that a start after it loses nothing. In production the
 * hook is never set and a point costs one comparison.
 */
let hook: ((point: string) => void) | null = null;

export function fault(point: string): void {
  if (hook !== null) hook(point);
}

/** For tests. Null disarms. */
export function armFaults(next: ((point: string) => void) | null): void {
  hook = next;
}
