import { ConfigError } from "../errors.ts";
import { ETAG_HEADER, LENGTH_HEADER, PROTOCOL_HEADER, SIZE_HEADER } from "../store/gateway-protocol.ts";
import { answerHeaders, Refused } from "./refused.ts";

/** Seconds that a browser may remember the answer to a preflight. */
const PREFLIGHT_SECONDS = 600;
const EXPOSED = [PROTOCOL_HEADER, SIZE_HEADER, LENGTH_HEADER, ETAG_HEADER, "retry-after"].join(", ");

/**
 * Whose pages may call the gateway: those of its own origin, and of the origins named. The user's cookies come along
 * with a request that any page makes, so who made it must be known. Programs that are no browsers send no Origin.
 */
export class OriginPolicy {
  readonly #allowed: ReadonlySet<string>;

  /** Throws ConfigError. */
  constructor(allowed: readonly string[]) {
    if (!Array.isArray(allowed)) throw new ConfigError("allowedOrigins", "must be a list");
    for (const origin of allowed)
      if (!isOrigin(origin))
        throw new ConfigError(
          "allowedOrigins",
          `${JSON.stringify(origin)} must look like https://app.example`,
        );
    this.#allowed = new Set(allowed);
  }

  /** Throws Refused. */
  check({ url, headers }: Request): void {
    const origin = headers.get("origin");
    const site = headers.get("sec-fetch-site");
    if (origin === null) {
      if (site === null || site === "same-origin" || site === "none") return;
    } else {
      if (this.#allowed.has(origin)) return;
      // Pages cannot forge it, and no proxy in between changes what it says.
      if (site === null ? isSameOrigin(origin, new URL(url)) : site === "same-origin") return;
    }
    throw new Refused(403, "access-denied", "pages of this origin may not call this gateway");
  }

  /** The answer to a browser that asks whether a page of another origin may make a request. Throws Refused. */
  preflight({ headers }: Request): Response {
    const origin = headers.get("origin");
    if (origin === null || !this.#allowed.has(origin))
      throw new Refused(403, "access-denied", "pages of this origin may not call this gateway");
    const asked = headers.get("access-control-request-headers") ?? "";
    const allowed = {
      ...answerHeaders,
      "access-control-allow-methods": "GET, POST",
      // The app's own headers are among them.
      "access-control-allow-headers": /^[\w, -]*$/.test(asked) ? asked : PROTOCOL_HEADER,
      "access-control-max-age": `${PREFLIGHT_SECONDS}`,
    };
    return new Response(null, { status: 204, headers: allowed });
  }

  /** Lets the page that made the request read the answer. */
  share(response: Response, { headers }: Request): Response {
    const origin = headers.get("origin");
    response.headers.set("vary", "Origin");
    if (origin === null || !this.#allowed.has(origin)) return response;
    response.headers.set("access-control-allow-origin", origin);
    response.headers.set("access-control-allow-credentials", "true");
    response.headers.set("access-control-expose-headers", EXPOSED);
    return response;
  }
}

function isOrigin(text: unknown): boolean {
  try {
    return typeof text === "string" && /^https?:/.test(text) && new URL(text).origin === text;
  } catch {
    return false;
  }
}

/** Behind a proxy that ends TLS the request says http: where the page says https:. */
function isSameOrigin(origin: string, url: URL): boolean {
  if (!isOrigin(origin)) return false;
  return url.protocol === "https:" ? origin === url.origin : new URL(origin).host === url.host;
}
