import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { createInterface } from "node:readline";
import { describe, expect, onTestFinished, test } from "vitest";
import { type GatewayServerOptions, serveGateway } from "../../node/index.ts";
import { ConfigError } from "../../src/errors.ts";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { useSluice } from "../cli/sluice.ts";
import { bytes, expectKind } from "../suites/object-store.ts";
import { protocol } from "./server.ts";

const key = "lineage.json";
const token = "correct-horse-battery";

async function serve(options: Partial<GatewayServerOptions> = {}) {
  const server = await serveGateway({ store: new MemoryStore(), ...options });
  onTestFinished(() => server.close());
  return server;
}

const bearer = (text: string) => ({ headers: () => ({ authorization: `Bearer ${text}` }) });

/** The status for a request that names a host of its choice, as a page does whose name was made to resolve to us. */
async function statusFor(url: string, headers: Record<string, string>): Promise<number> {
  const asking = request(new URL("?verb=about", url), { headers: { ...protocol, ...headers } });
  asking.end();
  const [response] = await once(asking, "response");
  response.resume();
  return response.statusCode;
}

describe("a gateway's server", () => {
  test("without a token serves this machine, by its own names", async () => {
    const { url } = await serve();
    const store = new GatewayStore(url);
    await store.put(key, bytes(3));
    expect((await store.get(key)).size).toBe(3);
    for (const host of ["localhost:1", "127.0.0.1", "[::1]:80"]) {
      expect(await statusFor(url, { host })).toBe(200);
    }
    for (const host of [
      "evil.example",
      "evil.example:8080",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
    ]) {
      expect(await statusFor(url, { host, origin: `http://${host}` }), host).toBe(401);
    }
  });

  test("that others can reach needs a token", async () => {
    for (const host of ["0.0.0.0", "::", "::0", "192.0.2.1", "example.org", ""])
      await expect(serve({ host }), host).rejects.toThrow(ConfigError);
  });

  test("with a token serves who has it, under any name", async () => {
    const { url } = await serve({ token });
    await new GatewayStore(url, bearer(token)).put(key, bytes(3));
    for (const options of [{}, bearer(""), bearer(`${token}x`), bearer(token.slice(1)), bearer("undefined")])
      await expectKind(new GatewayStore(url, options).get(key), "access-denied");
    for (const authorization of [token, `Basic ${token}`, `Bearer ${token} ${token}`])
      expect(await statusFor(url, { authorization })).toBe(401);
    expect(await statusFor(url, { host: "replica.example", authorization: `Bearer ${token}` })).toBe(200);
  });

  test.each([
    { token: "short" },
    { token: "" },
    { token: "with spaces in it, and long" },
    { port: -1 },
    { port: 65_536 },
    { tokens: [] },
    { allowedOrigins: ["*"] },
  ])("%j is refused", async (options) => {
    await expect(serve(options as object)).rejects.toThrow(ConfigError);
  });

  test("ends what is open when it closes", async () => {
    const store = new MemoryStore();
    const server = await serveGateway({ store });
    const response = await fetch(`${server.url}?verb=begin&key=${key}`, {
      method: "POST",
      headers: protocol,
    });
    await response.text();
    const slow = fetch(`${server.url}?verb=put&key=${key}&size=5`, {
      method: "POST",
      headers: protocol,
      body: new ReadableStream({ start: (controller) => controller.enqueue(bytes(1)) }),
      duplex: "half",
    } as RequestInit).catch((error: unknown) => error);
    await server.close();
    expect(await slow).toBeInstanceOf(TypeError);
    await expectKind(new GatewayStore(server.url).get(key), "network");
    await expectKind(store.get(key), "not-found");
  });
});

describe("sluice gateway", () => {
  const sluice = useSluice();

  async function started(args: readonly string[]): Promise<{ child: ChildProcess; line: string }> {
    const child = sluice.start(["gateway", ...args]);
    onTestFinished(async () => {
      if (child.exitCode === null && child.kill("SIGKILL")) await once(child, "close");
    });
    const [line] = await once(createInterface({ input: child.stdout! }), "line");
    return { child, line };
  }

  test.each(["SIGINT", "SIGTERM"] as const)("serves a folder until %s", async (signal) => {
    const replica = `file://${sluice.folder()}/replica`;
    const { child, line } = await started([replica, "--json"]);
    const { url, store } = JSON.parse(line) as { url: string; store: string };
    expect(store).toBe(replica);
    await new GatewayStore(url).put(key, bytes(3));
    expect(await sluice.run(["ls", url])).toMatchObject({ code: 1 });
    const closed = once(child, "close");
    child.kill(signal);
    expect(await closed).toEqual([0, null]);
    await expectKind(new GatewayStore(url).get(key), "network");
  });

  test("asks for the token, which the command line takes from the environment", async () => {
    const replica = `file://${sluice.folder()}/replica`;
    const { line } = await started([replica, "--token", token, "--json"]);
    const { url } = JSON.parse(line) as { url: string };
    expect((await sluice.run(["ls", url])).code).toBe(1);
    expect((await sluice.run(["ls", url], { SLUICE_GATEWAY_TOKEN: token })).code).toBe(3);
  });

  test.each([
    ["--host", "0.0.0.0"],
    ["--port", "x"],
    ["--port", "70000"],
    ["--allow-origin", "*"],
    ["--token", "short"],
  ])("%s %s is wrong usage", async (option, value) => {
    const { code, stdout } = await sluice.run(["gateway", "file:///tmp/none", option, value]);
    expect([code, stdout]).toEqual([2, ""]);
  });
});
