import type { IncomingMessage, ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";

/**
 * A listener for `http.createServer`, Express or Connect from a function from Request to Response. Bodies stream both ways
 * as fast as the slower side takes them; a client that goes away aborts the request's signal. Whoever reads the body
 * before it (a body parser) must not.
 */
export function toNodeListener(
  handler: (request: Request) => Promise<Response>,
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  return (incoming, outgoing) => {
    respond(handler, incoming, outgoing).catch(() => outgoing.destroy());
  };
}

async function respond(
  handler: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  outgoing.once("close", () => gone.abort());
  // Unheard, it would end the process; "close" follows.
  outgoing.on("error", () => undefined);
  const request = toRequest(incoming, gone.signal);
  if (request === null) {
    outgoing.writeHead(400, { connection: "close" }).end();
    return;
  }
  const response = await handler(request);
  for (const [name, value] of response.headers) outgoing.setHeader(name, value);
  // What of the body nobody wanted would be taken for the next request.
  if (!incoming.complete) outgoing.setHeader("connection", "close");
  outgoing.writeHead(response.status);
  if (response.body !== null && incoming.method !== "HEAD") await send(response.body, outgoing, gone.signal);
  else await response.body?.cancel();
  outgoing.end(() => {
    if (!incoming.complete) incoming.destroy();
  });
}

/** Of these Node takes the first, and a proxy before it may have judged the second (RFC 9112, 3.2). */
const ONCE = ["host", "authorization"];

/** Null for what is no request, such as one of a host that cannot be, or of two. */
function toRequest(incoming: IncomingMessage, signal: AbortSignal): Request | null {
  const { method = "GET", headers, headersDistinct } = incoming;
  if (ONCE.some((name) => (headersDistinct[name]?.length ?? 0) > 1)) return null;
  const scheme = (incoming.socket as TLSSocket).encrypted === true ? "https" : "http";
  // The host is that of the header, whatever the target says: it may begin with two slashes, or be a whole URL.
  const target = incoming.url?.startsWith("/") === true ? incoming.url : "/";
  try {
    const url = new URL(`${scheme}://${headers.host ?? "localhost"}`);
    if (url.pathname !== "/" || url.search !== "" || url.username !== "" || url.hash !== "") return null;
    const [path = "/", ...query] = target.split("?");
    url.pathname = path;
    url.search = query.join("?");
    const hasBody = method !== "GET" && method !== "HEAD";
    return new Request(url, {
      method,
      headers: flat(headers),
      signal,
      ...(hasBody && { body: bodyOf(incoming), duplex: "half" }),
    } as RequestInit);
  } catch {
    return null;
  }
}

function flat(headers: IncomingMessage["headers"]): Headers {
  const flattened = new Headers();
  for (const [name, value] of Object.entries(headers))
    for (const one of Array.isArray(value) ? value : [value ?? ""]) flattened.append(name, one);
  return flattened;
}

/** Reads nothing that was not asked for, so that a slow handler slows the client down. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  const chunks = incoming.iterator({ destroyOnReturn: false });
  return new ReadableStream(
    {
      async pull(controller) {
        const step = await chunks.next();
        if (step.done === true) controller.close();
        else controller.enqueue(new Uint8Array(step.value));
      },
    },
    { highWaterMark: 0 },
  );
}

/** Ends the connection where the body fails: a client must not take what came for all. */
async function send(
  body: ReadableStream<Uint8Array>,
  outgoing: ServerResponse,
  gone: AbortSignal,
): Promise<void> {
  const reader = body.getReader();
  const leave = () => void reader.cancel().catch(() => undefined);
  gone.addEventListener("abort", leave, { once: true });
  if (gone.aborted) leave();
  for (;;) {
    const { done, value } = await reader.read();
    if (done || gone.aborted) break;
    if (!outgoing.write(value)) await drained(outgoing);
  }
  gone.removeEventListener("abort", leave);
}

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      outgoing.off("drain", end).off("close", end);
      resolve();
    };
    outgoing.once("drain", end).once("close", end);
    if (outgoing.destroyed) end();
  });
}
