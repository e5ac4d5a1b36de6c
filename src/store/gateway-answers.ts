import type { About, Begun, Entry, Page, Refusal } from "./gateway-protocol.ts";

/**
 * What an answer's JSON has to be, whoever sent it. Null where it is not: a gateway of another release, a server that is
 * none, or somebody between.
 */
export function readAbout(value: unknown): About | null {
  const about = value as Partial<About> | null;
  return isCount(about?.partBytes) && about.partBytes > 0 ? (about as About) : null;
}

export function readPage(value: unknown): Page | null {
  const page = value as Partial<Page> | null;
  const whole =
    Array.isArray(page?.objects) &&
    page.objects.every(isEntry) &&
    (page.next === null || (typeof page.next === "string" && page.next !== ""));
  return whole ? (page as Page) : null;
}

export function readBegun(value: unknown): Begun | null {
  const begun = value as Partial<Begun> | null;
  return typeof begun?.upload === "string" ? (begun as Begun) : null;
}

/** Without the fields that are not what they should be. */
export function readRefusal(value: unknown): Partial<Refusal> {
  const { kind, message, retryAfterMs, key } = (value ?? {}) as Partial<Refusal>;
  return {
    ...(typeof kind === "string" && { kind }),
    ...(typeof message === "string" && { message }),
    ...(isCount(retryAfterMs) && { retryAfterMs }),
    ...(typeof key === "string" && { key }),
  };
}

/** A header that is a number of bytes; null where it is missing or something else. */
export function readCount(header: string | null): number | null {
  return header !== null && /^\d{1,16}$/.test(header) && isCount(Number(header)) ? Number(header) : null;
}

/** A header that was percent-encoded; null where it is missing, empty or not so. */
export function readEncoded(header: string | null): string | null {
  try {
    return decodeURIComponent(header ?? "") || null;
  } catch {
    return null;
  }
}

function isEntry(value: unknown): value is Entry {
  if (!Array.isArray(value)) return false;
  const [key, ...numbers] = value;
  return (
    typeof key === "string" && numbers.length >= 3 && numbers.every((number) => typeof number === "number")
  );
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
