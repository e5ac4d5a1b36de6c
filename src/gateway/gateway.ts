import { PROTOCOL_HEADER, PROTOCOL_VERSION, type Verb } from "../store/gateway-protocol.ts";
import { discard, type Timer } from "./body.ts";
import { Budget } from "./budget.ts";
import { checkGatewayOptions, type GatewayOptions } from "./options.ts";
import { OriginPolicy } from "./origins.ts";
import { Parameters } from "./parameters.ts";
import { Refused, refusal, toRefused } from "./refused.ts";
import { type KeyGrammar, replicaKeys, Scope } from "./scope.ts";
import { Uploads } from "./uploads.ts";
import { type Asked, reads, type Service, writes } from "./verbs.ts";

declare function setTimeout(callback: () => void, ms: number): unknown;
declare function clearTimeout(timer: unknown): void;

export type Gateway = (request: Request) => Promise<Response>;

/**
 * The server half of GatewayStore: one function from request to response, for any server, over any store. It may be mounted
 * at any path. All requests of an upload must reach the same process. Throws ConfigError.
 */
export function createGateway(options: GatewayOptions): Gateway {
  return createGatewayOver(options, replicaKeys);
}

/** The same for keys of another grammar. Legal they must be in any case. */
export function createGatewayOver(options: GatewayOptions, isKey: KeyGrammar): Gateway {
  const limits = checkGatewayOptions(options);
  const origins = new OriginPolicy(options.allowedOrigins ?? []);
  const timer = options.timer ?? runtimeTimer;
  const { store, authorize, signal, onError = () => undefined } = options;
  const service: Service = {
    store,
    limits,
    uploads: new Uploads(limits.maxUploads, limits.uploadIdleMs, timer),
    budget: new Budget(limits.maxBufferedBytes, limits.maxBufferedBytes / 4),
    timer,
    onError,
  };
  signal?.addEventListener("abort", () => void service.uploads.abortAll(), { once: true });

  const serve = async (request: Request): Promise<Response> => {
    if (signal?.aborted === true) throw new Refused(503, "unavailable", "the gateway is shutting down");
    if (request.method === "OPTIONS") return origins.preflight(request);
    origins.check(request);
    if (request.headers.get(PROTOCOL_HEADER) !== PROTOCOL_VERSION)
      throw new Refused(
        400,
        "invalid-request",
        `${PROTOCOL_HEADER}: ${PROTOCOL_VERSION} is missing, or of another release`,
      );
    const scope = Scope.of(await prefixOf(request, authorize), isKey);
    const parameters = new Parameters(request);
    return actFor(request, parameters)(service, { request, parameters, scope });
  };
  return async (request) => {
    let response: Response;
    try {
      response = await serve(request);
    } catch (error) {
      const refused = toRefused(error);
      // That a client went away is no fault of what is behind.
      const failed = refused.status >= 500 && refused.cause !== undefined && !request.signal.aborted;
      if (failed) onError(refused.cause);
      await discard(request, limits.partBytes, timer);
      response = refusal(refused);
    }
    return origins.share(response, request);
  };
}

async function prefixOf(request: Request, authorize: GatewayOptions["authorize"]): Promise<unknown> {
  const grant = await authorize(request);
  if (grant === null || grant === undefined || ("deny" in grant && grant.deny !== 403))
    throw new Refused(401, "access-denied", "who makes this request is not known; sign in");
  if ("deny" in grant) throw new Refused(403, "access-denied", "this caller may not");
  return grant.prefix;
}

function actFor(
  { method }: Request,
  parameters: Parameters,
): (service: Service, asked: Asked) => Promise<Response> {
  const verb = parameters.text("verb") as Verb;
  const known = method === "GET" ? reads : method === "POST" ? writes : {};
  const act = Object.hasOwn(known, verb) ? known[verb] : undefined;
  if (act !== undefined) return act;
  throw new Refused(405, "invalid-request", "there is no such verb by this method");
}

const runtimeTimer: Timer = {
  after(ms, holding, callback) {
    const timer = setTimeout(callback, ms) as { unref?(): void };
    // In Node a timer keeps the process alive; elsewhere it is a number.
    if (!holding) timer.unref?.();
    return { cancel: () => clearTimeout(timer) };
  },
};
