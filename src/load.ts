import { CodeUnavailableError } from "./errors.ts";

/**
 * Code that is not needed to open, write and upload: in a bundle each of these is a chunk of its own. What failed to load is
 * asked for again by whoever needs it next.
 *
 * Upkeep is loaded at every start, since the loop begins with a look at the end of the chain. So it is there when the network
 * goes, or the release that a page was loaded from is replaced. The others are needed only beside the store itself.
 */
export const loadUpkeep = () => load(() => import("./upkeep.ts"));
/** Where nothing recorded here proves how the local database continues its replica. */
export const loadUnproven = () => load(() => import("./start-unproven.ts"));
export const loadAdopt = () => load(() => import("./adopt.ts"));
/** Once something was uploaded. */
export const loadHousekeeping = () => load(() => import("./housekeeping-chunk.ts"));
export const loadRestore = () => load(() => import("./restore-database.ts"));

/** Throws CodeUnavailableError. */
export async function load<T>(chunk: () => Promise<T>): Promise<T> {
  try {
    return await chunk();
  } catch (cause) {
    throw new CodeUnavailableError(cause);
  }
}
