/**
 * What a server says of itself, for an error message: without queries of URLs and anything long enough to be a key, a token or a
 * signature, since some repeat what a request carried. At most one line of 200 characters.
 */
export function withoutSecrets(text: string): string {
  return (text.split("\n", 1)[0] ?? "")
    .replace(/\?\S*/g, "?…")
    .replace(
      /(authorization|bearer|credential|signature|secret|token|key ?id)(\s*[:=]\s*|\s+(?=\S{16}))\S.*/gi,
      "$1$2…",
    )
    .replace(/[A-Za-z0-9+/=_-]{16,}/g, "…")
    .slice(0, 200);
}
