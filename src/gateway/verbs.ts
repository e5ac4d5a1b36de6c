import { StoreError } from "../errors.ts";
import {
  type About,
  BATCH,
  type Begun,
  type Entry,
  ETAG_HEADER,
  LENGTH_HEADER,
  type Page,
  SIZE_HEADER,
  type Verb,
} from "../store/gateway-protocol.ts";
import { type ObjectStore, resolveRange } from "../store/object-store.ts";
import { answerBody, bodyChunks, readBody, type Timer } from "./body.ts";
import type { Budget } from "./budget.ts";
import type { Limits } from "./options.ts";
import type { Parameters } from "./parameters.ts";
import { answer, answerHeaders, Refused, toRefused } from "./refused.ts";
import type { Scope } from "./scope.ts";
import { type StoreWrite, Upload } from "./upload.ts";
import type { Uploads } from "./uploads.ts";

/** What all requests share. */
export interface Service {
  readonly store: ObjectStore;
  readonly limits: Limits;
  readonly uploads: Uploads;
  readonly budget: Budget;
  readonly timer: Timer;
  readonly onError: (error: unknown) => void;
}

/** One request of a caller who may make it. */
export interface Asked {
  readonly request: Request;
  readonly parameters: Parameters;
  readonly scope: Scope;
}

type Act = (service: Service, asked: Asked) => Promise<Response>;

export const reads: Readonly<Partial<Record<Verb, Act>>> = { about, get, list };
export const writes: Readonly<Partial<Record<Verb, Act>>> = {
  put,
  begin,
  part,
  complete,
  abort,
  delete: remove,
};

async function about({ store, limits }: Service, { request }: Asked): Promise<Response> {
  const { conditionalCreate } = await store.capabilities({ signal: request.signal });
  return answer({ conditionalCreate, partBytes: limits.partBytes } satisfies About);
}

async function get(service: Service, { request, parameters, scope }: Asked): Promise<Response> {
  const key = scope.key(parameters.text("key"));
  const [offset, match] = [parameters.optional("offset"), parameters.optional("match")];
  const range =
    offset === null ? undefined : { offset: integer(offset), length: integer(parameters.text("length")) };
  const { size, etag, body } = await service.store.get(scope.prefix + key, {
    signal: request.signal,
    ...(range !== undefined && { range }),
    ...(match !== null && { ifMatch: match }),
  });
  const { length } = resolveRange(range, size, key);
  const headers = {
    ...answerHeaders,
    "content-type": "application/octet-stream",
    "content-length": `${length}`,
    [SIZE_HEADER]: `${size}`,
    [LENGTH_HEADER]: `${length}`,
    [ETAG_HEADER]: encodeURIComponent(etag),
  };
  const { limits, timer, onError } = service;
  const onFailure = (error: unknown) => {
    if (!request.signal.aborted) onError(error);
  };
  return new Response(answerBody(body, limits.idleMs, timer, onFailure), { status: 200, headers });
}

async function list({ store }: Service, { request, parameters, scope }: Asked): Promise<Response> {
  const prefix = parameters.text("prefix");
  const after = parameters.optional("after");
  const objects: Entry[] = [];
  if (!scope.mayList(prefix)) return answer({ objects, next: null } satisfies Page);
  const options = {
    signal: request.signal,
    ...(after !== null && after !== "" && { startAfter: scope.prefix + after }),
  };
  let seen = 0;
  for await (const info of store.list(scope.prefix + prefix, options)) {
    const key = scope.relative(info.key);
    if (key !== null) objects.push([key, info.size, info.lastModified, info.age]);
    seen += 1;
    if (seen < BATCH) continue;
    return answer({ objects, next: info.key.slice(scope.prefix.length) } satisfies Page);
  }
  return answer({ objects, next: null } satisfies Page);
}

async function put(service: Service, asked: Asked): Promise<Response> {
  const { request, parameters, scope } = asked;
  const key = scope.key(parameters.text("key"));
  const create = parameters.flag("create");
  return withBody(service, asked, async (bytes) => {
    const { signal } = request;
    await service.store.put(scope.prefix + key, bytes, { signal, ...(create && { ifNoneMatch: "*" }) });
    return answer(null);
  });
}

async function begin({ store, limits, uploads }: Service, { parameters, scope }: Asked): Promise<Response> {
  const key = scope.key(parameters.text("key"));
  const size = parameters.optionalCount("size", limits.maxObjectBytes);
  const create = parameters.flag("create");
  if (create && size === null) throw new Refused(400, "invalid-request", "create needs the size");
  const whole = scope.prefix + key;
  const write: StoreWrite = (chunks, signal) =>
    size === null
      ? store.putStream(whole, chunks(), { signal })
      : store.put(whole, { size, chunks }, { signal, ...(create && { ifNoneMatch: "*" }) });
  const upload = uploads.begin(scope, () => new Upload(key, size ?? limits.maxObjectBytes, write));
  return answer({ upload } satisfies Begun);
}

async function part(service: Service, asked: Asked): Promise<Response> {
  const { request, parameters } = asked;
  const { limits, timer } = service;
  const number = parameters.count("number", Number.MAX_SAFE_INTEGER);
  const size = parameters.count("size", limits.partBytes);
  const upload = findUpload(service, asked);
  if (size === 0) throw new Refused(400, "invalid-request", "a part is not empty");
  await upload.part(number, size, bodyChunks(request, size, limits.idleMs, timer), request.signal);
  return answer(null);
}

async function complete(service: Service, asked: Asked): Promise<Response> {
  const parts = asked.parameters.count("parts", Number.MAX_SAFE_INTEGER);
  await findUpload(service, asked).complete(parts);
  return answer(null);
}

async function abort(service: Service, asked: Asked): Promise<Response> {
  await findUpload(service, asked).abort("its client has given up");
  return answer(null);
}

function findUpload({ uploads }: Service, { parameters, scope }: Asked): Upload {
  return uploads.find(scope, scope.key(parameters.text("key")), parameters.text("upload"));
}

async function remove(service: Service, asked: Asked): Promise<Response> {
  const { request, scope } = asked;
  return withBody(service, asked, async (bytes) => {
    const keys = parseKeys(bytes).map((key) => scope.prefix + scope.key(key));
    try {
      await service.store.delete(keys, { signal: request.signal });
    } catch (error) {
      const whole = error instanceof StoreError ? error.detail.key : undefined;
      throw toRefused(error, whole === undefined ? null : scope.relative(whole));
    }
    return answer(null);
  });
}

/** The body of the size that the request states, read whole. */
async function withBody(
  { limits, budget, timer }: Service,
  { request, parameters, scope }: Asked,
  act: (bytes: Uint8Array) => Promise<Response>,
): Promise<Response> {
  const size = parameters.count("size", limits.partBytes);
  const giveBack = budget.take(scope.prefix, size);
  try {
    return await act(await readBody(request, size, limits.idleMs, timer));
  } finally {
    giveBack();
  }
}

function parseKeys(bytes: Uint8Array): unknown[] {
  let keys: unknown;
  try {
    keys = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    keys = null;
  }
  if (Array.isArray(keys) && keys.length <= BATCH) return keys;
  throw new Refused(400, "invalid-request", `the body must be a list of at most ${BATCH} keys`);
}

/** Of a range, whose store says what is wrong with other numbers. */
function integer(text: string): number {
  return /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
}
