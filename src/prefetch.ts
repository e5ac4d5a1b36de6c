/**
 * Maps items in order with up to `ahead` calls under way, so that latency is paid once and not once for each. Results
 * come in the order of the items; the first failure, in that order, ends it, and what was begun is left to end quietly.
 */
export async function* prefetch<T, R>(
  items: Iterable<T>,
  ahead: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const under: Promise<R>[] = [];
  for (const item of items) {
    const promise = map(item);
    // Heard only in its turn, or never: not unhandled meanwhile, which would end a Node process.
    promise.catch(() => undefined);
    under.push(promise);
    if (under.length >= ahead) yield await under.shift()!;
  }
  while (under.length > 0) yield await under.shift()!;
}
