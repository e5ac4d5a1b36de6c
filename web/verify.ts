import { load } from "../src/load.ts";
import type { ReplicaLocation } from "../src/store/replica-location.ts";
import type { VerifyOptions, VerifyReport } from "../src/verify-report.ts";

/**
 * Checks a replica, without any local database: every object, byte by byte; the chain over all levels and snapshots; that
 * each snapshot is what the objects before it add up to. It restores nothing. Damage is an answer, never an error.
 * @throws ConfigError, StoreError, CodeUnavailableError, and the signal's reason.
 */
export async function verifyReplica(
  location: ReplicaLocation,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const [{ verifyReplica }, { openStore }, { loadCodecs }, { systemClock }] = await load(() =>
    Promise.all([
      import("../src/verify.ts"),
      import("./open-store.ts"),
      import("./compression.ts"),
      import("./clock.ts"),
    ]),
  );
  const codecs = await loadCodecs();
  return verifyReplica(await openStore(location), { codecs, clock: systemClock }, options, null);
}
