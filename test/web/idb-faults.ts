// IndexedDB going wrong on purpose: the next transactions of this page, as they are begun.
import { vi } from "vitest";

/** How a transaction ends. `effect`: whether it takes place all the same. */
export interface Fault {
  readonly error: string | null;
  readonly effect: boolean;
  /** Where it is refused before it begins, as on a closed connection. */
  readonly refused?: boolean;
}

export const FAULTS = {
  "is refused by a closed connection": { error: "InvalidStateError", effect: false, refused: true },
  "is lost": { error: null, effect: false },
  "is lost after it took place": { error: null, effect: true },
  "ends with UnknownError": { error: "UnknownError", effect: false },
  "exceeds the quota": { error: "QuotaExceededError", effect: false },
} satisfies Record<string, Fault>;

const begin = IDBDatabase.prototype.transaction;

/** Counts transactions that write; those for which `faultOf` answers a fault have it. Undone by `vi.restoreAllMocks`. */
export function faultTransactions(faultOf: (count: number) => Fault | undefined): () => number {
  let count = 0;
  vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (
    this: IDBDatabase,
    stores,
    mode = "readonly",
    options,
  ) {
    const fault = mode === "readwrite" ? faultOf(count++) : undefined;
    if (fault?.refused) throw new DOMException("made up", fault.error!);
    const transaction = begin.call(this, stores, mode, options);
    if (fault !== undefined) spoil(transaction, fault);
    return transaction;
  });
  return () => count;
}

/** Its end is told as an abort. */
function spoil(transaction: IDBTransaction, { error, effect }: Fault): void {
  const listen = transaction.addEventListener.bind(transaction);
  if (!effect) setTimeout(() => tryAbort(transaction));
  Object.defineProperty(transaction, "error", { value: error && new DOMException("made up", error) });
  Object.defineProperty(transaction, "addEventListener", {
    value: (type: string, listener: EventListener) => {
      if (type === "abort") listen(effect ? "complete" : "abort", listener);
    },
  });
  if (!effect) keepAlive(transaction);
}

/** With requests under way it does not complete before it is aborted. */
function keepAlive(transaction: IDBTransaction): void {
  const store = transaction.objectStore(transaction.objectStoreNames[0]!);
  const again = () => {
    const request = store.count();
    request.onsuccess = again;
    request.onerror = (event) => event.preventDefault();
  };
  again();
}

function tryAbort(transaction: IDBTransaction): void {
  try {
    transaction.abort();
  } catch {
    // It has ended.
  }
}
