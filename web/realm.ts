/** What all copies of this package in a page or worker share: bundles load it twice, and hot reload anew. */
export function ofRealm<T>(name: string, make: () => T): T {
  const key = Symbol.for(`sqlite-sluice.${name}`);
  const realm = globalThis as unknown as Record<symbol, T | undefined>;
  realm[key] ??= make();
  return realm[key];
}
