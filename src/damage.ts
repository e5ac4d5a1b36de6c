import { BrokenReplicaError, CorruptObjectError, type SluiceError } from "./errors.ts";

/** The replica itself is at fault: an object is damaged, or the chain is not whole. */
export function isDamage(error: unknown): error is SluiceError {
  return error instanceof CorruptObjectError || error instanceof BrokenReplicaError;
}
