/**
 * The shortest time that level 0 may be kept, milliseconds, whatever is configured. A key that was deleted is free again:
 * a writer that was away for less than half of it knows that its next one is not (see `Tail`).
 */
export const LEVEL0_STAYS_MS = 6 * 3600 * 1000;
