import { StoreError, type StoreErrorKind } from "../src/errors.ts";

/** By `errno`; what is not here is "unavailable". */
const KINDS: Readonly<Record<string, StoreErrorKind>> = {
  ENOENT: "not-found",
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EACCES: "access-denied",
  EPERM: "access-denied",
  EROFS: "access-denied",
  ENAMETOOLONG: "invalid-request",
  EINVAL: "invalid-request",
  ELOOP: "invalid-request",
  EXDEV: "invalid-request",
  EFBIG: "invalid-request",
};

const ADVICE: Partial<Record<StoreErrorKind, string>> = {
  "no-space": "Make room where the folder of the replica is.",
  "access-denied":
    "Whoever replicates needs the right to read and write the folder of the replica; whoever restores, to read it.",
};

export async function io<T>(key: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (error) {
    throw toStoreError(key, error);
  }
}

export function toStoreError(key: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  if (isErrno(error, "ENOTDIR", "EISDIR", "EEXIST")) return isFolder(key, error);
  const { code, message } = error as NodeJS.ErrnoException;
  const kind = KINDS[code ?? ""] ?? "unavailable";
  const advice = ADVICE[kind];
  const text = advice === undefined ? message : `${key}: ${message}. ${advice}`;
  return new StoreError(kind, text, { key }, { cause: error });
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

export function notFound(key: string, cause?: unknown): StoreError {
  return new StoreError("not-found", `there is no ${key}`, { key }, { cause });
}

export function alreadyThere(key: string, cause?: unknown): StoreError {
  return new StoreError("precondition-failed", `${key} is already there`, { key }, { cause });
}

export function isFolder(key: string, cause?: unknown): StoreError {
  const message = `${key}: an object and a folder of objects cannot have one name in a directory`;
  return new StoreError("invalid-request", message, { key }, { cause });
}
