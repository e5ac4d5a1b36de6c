import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError } from "../../src/errors.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { openStore } from "../open-store.ts";

/** Whether a word of the command line is meant as a replica and not as a path. */
export function isReplicaUrl(word: string): boolean {
  return /^(s3|file|https?):/i.test(word);
}

/** The store that a word of the command line names. Makes no request. Rejects with ConfigError. */
export async function openReplica(word: string): Promise<ObjectStore> {
  const token = process.env.SLUICE_GATEWAY_TOKEN;
  if (/^https?:/i.test(word) && token) {
    const headers = () => ({ authorization: `Bearer ${token}` });
    return openStore({ replica: word, gateway: { headers } });
  }
  if (isReplicaUrl(word)) return openStore({ replica: word });
  throw new ConfigError(
    "replica",
    `${JSON.stringify(word)} must begin with s3://, https:// or file:///; as a folder it is ${pathToFileURL(resolve(word))}`,
  );
}
