import { checkBoolean, checkString, refuseUnknown } from "../config.ts";
import { ConfigError, StoreError } from "../errors.ts";
import { checkKey } from "./object-store.ts";

/** Where a replica lies in S3, or in anything that speaks its protocol, and how to get there. */
export interface S3StoreConfig {
  /** Name of the bucket, or ARN of an access point. It must exist. */
  readonly bucket: string;
  /** What all keys begin with; a slash is put behind it. Default none: the whole bucket is the replica's. */
  readonly prefix?: string;
  /**
   * Region that requests are signed for. Default: in Node what the AWS SDK finds (AWS_REGION, the profile); with an
   * `endpoint` "us-east-1", which most servers take. Cloudflare R2 wants "auto".
   */
  readonly region?: string;
  /** URL of a server other than Amazon's, such as `https://minio.example:9000`. */
  readonly endpoint?: string;
  /**
   * Keys, or a function that gives them: any credential provider of the AWS SDK. A function is called again when keys
   * expire or are refused. Default: in Node the SDK's own search (environment, profile, role of the machine).
   */
  readonly credentials?: S3Credentials | S3CredentialProvider;
  /** Bucket in the path, not in the host name. Default true with an `endpoint`, false without. */
  readonly forcePathStyle?: boolean;
}

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** From then on the provider is called again. */
  readonly expiration?: Date;
}
/** The SDK calls its own providers with arguments; others need not mind them. */
export type S3CredentialProvider = (...context: never[]) => Promise<S3Credentials>;

/** The configuration with its defaults, checked. `prefix` is empty or ends with a slash. */
export interface S3Settings {
  readonly bucket: string;
  readonly prefix: string;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly credentials: S3Credentials | S3CredentialProvider | undefined;
  readonly forcePathStyle: boolean;
}

const configFields = [
  "bucket",
  "prefix",
  "region",
  "endpoint",
  "credentials",
  "forcePathStyle",
] as const satisfies readonly (keyof S3StoreConfig)[];
const credentialFields = ["accessKeyId", "secretAccessKey"] as const;
const urlParameters = ["region", "endpoint", "forcePathStyle"];
const SECRET_PARAMETER = /key|secret|token|password|credential|signature|^x-amz-/i;

/** Throws ConfigError naming the field. */
export function checkS3Config(config: S3StoreConfig): S3Settings {
  refuseUnknown(config, configFields, "S3StoreConfig");
  const optional = (field: "region" | "endpoint") =>
    config[field] === undefined ? undefined : checkString(field, config[field]);
  const endpoint = optional("endpoint");
  if (endpoint !== undefined) checkEndpoint(endpoint);
  return {
    bucket: checkBucket(config.bucket),
    prefix: checkPrefix(config.prefix ?? ""),
    region: optional("region") ?? (endpoint === undefined ? undefined : "us-east-1"),
    endpoint,
    credentials: checkCredentials(config.credentials),
    forcePathStyle: checkBoolean("forcePathStyle", config.forcePathStyle, endpoint !== undefined),
  };
}

/** For where the SDK has no place to look for what is not given. Throws ConfigError. */
export function requireSettings({ region, credentials }: S3Settings): void {
  if (region === undefined)
    throw new ConfigError(
      "region",
      "must be given in a browser, such as eu-central-1, where there is no endpoint",
    );
  if (credentials === undefined)
    throw new ConfigError(
      "credentials",
      "must be given in a browser: best a function that fetches temporary ones",
    );
}

/**
 * Reads `s3://bucket/prefix/?region=…&endpoint=…&forcePathStyle=true`; every parameter is optional. Throws ConfigError
 * for anything else in it, above all for secrets, which would end in logs and process lists.
 */
export function parseS3Url(url: string): S3StoreConfig {
  // The ARN of an access point may have a slash in it.
  const parts = /^s3:\/\/(arn:[^/?#]*:accesspoint\/[^/?#]+|[^/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url);
  if (parts === null) throw new ConfigError("replica", "must look like s3://bucket/prefix/?region=…");
  const [, bucket = "", path = "", query = ""] = parts;
  if (/@|^(?!arn:).*:/i.test(bucket)) throw noSecrets("replica");
  // Not by URL, which takes no colons of an ARN, and what is no host is for the check of the bucket's name.
  const searchParams = new URLSearchParams(query);
  const parameters = new Map<string, string>();
  for (const name of searchParams.keys()) {
    if (SECRET_PARAMETER.test(name)) throw noSecrets(name);
    if (!urlParameters.includes(name)) {
      throw new ConfigError(name, `is not a parameter of s3:// URLs. Known: ${urlParameters.join(", ")}`);
    }
    if (parameters.has(name)) throw new ConfigError(name, "is given twice");
    parameters.set(name, searchParams.get(name) ?? "");
  }
  const region = parameters.get("region");
  const endpoint = parameters.get("endpoint");
  const forcePathStyle = parameters.get("forcePathStyle");
  const config: S3StoreConfig = {
    bucket,
    ...(path === "" ? {} : { prefix: decodePath(path) }),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(forcePathStyle === undefined ? {} : { forcePathStyle: parseBoolean(forcePathStyle) }),
  };
  checkS3Config(config);
  return config;
}

/** The URL of a replica, for people; `parseS3Url` reads it. Without credentials. */
export function formatS3Url({ bucket, prefix, region, endpoint }: S3Settings): string {
  const path = prefix.split("/").map(encodeURIComponent).join("/");
  if (endpoint === undefined) return `s3://${bucket}/${path}`;
  const encoded = encodeURIComponent(endpoint).replaceAll("%3A", ":").replaceAll("%2F", "/");
  return `s3://${bucket}/${path}?endpoint=${encoded}&region=${encodeURIComponent(region ?? "")}`;
}

function checkBucket(bucket: unknown): string {
  const name = checkString("bucket", bucket);
  // Three characters at least, and old buckets may have upper case: the server says whether it is one of its own.
  if (/^[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]$/i.test(name) || /^arn:[\w:/.-]+$/.test(name)) return name;
  throw new ConfigError("bucket", `${JSON.stringify(name)} is not the name of a bucket`);
}

function checkPrefix(prefix: unknown): string {
  if (prefix === "") return "";
  const given = checkString("prefix", prefix);
  const folder = given.endsWith("/") ? given.slice(0, -1) : given;
  try {
    checkKey(folder);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    throw new ConfigError(
      "prefix",
      `${JSON.stringify(given)} is not legal: segments between single slashes, no "." or ".."`,
    );
  }
  return `${folder}/`;
}

function checkEndpoint(endpoint: string): void {
  // No user, no query: they could be secrets.
  if (!/^https?:\/\/[^/?#@\s]+(\/[^?#@\s]*)?$/i.test(endpoint)) {
    throw new ConfigError(
      "endpoint",
      "must be a URL such as https://host:port, without user, password and query",
    );
  }
}

function checkCredentials(credentials: unknown): S3Settings["credentials"] {
  if (credentials === undefined || typeof credentials === "function")
    return credentials as S3CredentialProvider;
  if (typeof credentials !== "object" || credentials === null) {
    throw new ConfigError("credentials", "must be an object with keys, or a function that gives one");
  }
  // More fields than these may come from the SDK: account, scope.
  for (const field of credentialFields) {
    checkString(`credentials.${field}`, (credentials as Partial<S3Credentials>)[field]);
  }
  return credentials as S3Credentials;
}

function noSecrets(name: string): ConfigError {
  return new ConfigError(
    name,
    "secrets do not belong in a URL. Give them as `credentials`, or in the environment",
  );
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw new ConfigError("replica", "its path is not percent-encoded UTF-8");
  }
}

function parseBoolean(text: string): boolean {
  if (text !== "true" && text !== "false") throw new ConfigError("forcePathStyle", "must be true or false");
  return text === "true";
}
