import { parseKey } from "../format/parse-key.ts";
import { checkKey } from "../store/object-store.ts";
import { Refused } from "./refused.ts";

/** Which keys a gateway serves, beyond that they must be legal. */
export type KeyGrammar = (key: string) => boolean;

/** The keys of a replica, letter for letter, and no others. */
export const replicaKeys: KeyGrammar = (key) => parseKey(key) !== null;

/**
 * The part of the store that one caller may use: what lies under `prefix`, which is empty or ends with a slash. Every key
 * of a request passes through here on its way to the store, and every key of the store on its way back.
 */
export class Scope {
  readonly #isKey: KeyGrammar;

  /** Throws Refused for what an app should never answer. */
  constructor(
    readonly prefix: string,
    isKey: KeyGrammar,
  ) {
    this.#isKey = isKey;
  }

  /** `given`: as `authorize` answers it, with or without the slash at its end. Throws Refused. */
  static of(given: unknown, isKey: KeyGrammar): Scope {
    if (given === "") return new Scope("", isKey);
    const folder = typeof given === "string" && given.endsWith("/") ? given.slice(0, -1) : given;
    if (typeof folder === "string" && isLegal(folder) && !folder.includes("\\"))
      return new Scope(`${folder}/`, isKey);
    throw new Refused(403, "access-denied", "the server's `authorize` answers a prefix that is not legal");
  }

  /** The caller's key, if there can be such an object. Throws Refused. */
  key(given: unknown): string {
    if (typeof given === "string" && isLegal(given) && this.#isKey(given) && isLegal(this.prefix + given))
      return given;
    throw new Refused(400, "invalid-request", "this is no key of a replica");
  }

  /** The caller's name for a key of the store; null for what the caller may not see. */
  relative(whole: string): string | null {
    if (!whole.startsWith(this.prefix)) return null;
    const key = whole.slice(this.prefix.length);
    return isLegal(key) && this.#isKey(key) ? key : null;
  }

  /** Whether any key of the caller can begin so. */
  mayList(prefix: string): boolean {
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    return !prefix.includes("\0") && isLegal(`${folder}x`);
  }
}

function isLegal(key: string): boolean {
  try {
    checkKey(key);
    return true;
  } catch {
    return false;
  }
}
