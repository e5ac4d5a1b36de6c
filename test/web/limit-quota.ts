import { cdp } from "vitest/browser";

interface StorageSession {
  send(
    method: "Storage.overrideQuotaForOrigin",
    params: { origin: string; quotaSize?: number },
  ): Promise<void>;
}

/** Of this origin, bytes; none: as the browser has it. */
export function limitQuota(quotaSize?: number): Promise<void> {
  return (cdp() as unknown as StorageSession).send("Storage.overrideQuotaForOrigin", {
    origin: location.origin,
    ...(quotaSize !== undefined && { quotaSize }),
  });
}
