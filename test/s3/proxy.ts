import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { signAgain } from "./sign.ts";

/** A proxy before the S3 server that spoils what passes through it. */
export interface SpoilingProxy {
  readonly endpoint: string;
  /** What was asked so far, such as "PUT /bucket/key". */
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export interface Spoiling {
  /** Answers in place of the server: true when it did, or never will. */
  answer?(incoming: IncomingMessage, response: ServerResponse): boolean;
  /** A header that does not reach the server; requests are signed again without it. */
  strip?: { readonly header: string; readonly secretAccessKey: string };
  /** Called with each answer of the server before any of it is passed on. */
  response?(upstream: IncomingMessage, response: ServerResponse): void;
}

export async function startProxy(target: string, spoiling: Spoiling): Promise<SpoilingProxy> {
  const requests: string[] = [];
  const agent = new Agent({ keepAlive: true });
  const pass = (incoming: IncomingMessage, response: ServerResponse) => {
    const { method = "GET", url = "/", headers } = incoming;
    requests.push(`${method} ${url}`);
    if (spoiling.answer?.(incoming, response) === true) {
      if (headers.expect !== undefined) response.writeContinue();
      return;
    }
    if (spoiling.strip !== undefined && headers[spoiling.strip.header] !== undefined) {
      delete headers[spoiling.strip.header];
      signAgain(method, url, headers, spoiling.strip.secretAccessKey);
    }
    const upstream = request(new URL(url, target), { method, headers, agent }, (answer) => {
      spoiling.response?.(answer, response);
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => {
      if (!response.writableFinished) upstream.destroy();
    });
    if (headers.expect === undefined) {
      incoming.pipe(upstream);
    } else {
      // Whether the body is wanted is for the server to say.
      upstream.flushHeaders();
      upstream.on("continue", () => {
        response.writeContinue();
        incoming.pipe(upstream);
      });
    }
  };
  const server = createServer(pass).on("checkContinue", pass);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        agent.destroy();
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
