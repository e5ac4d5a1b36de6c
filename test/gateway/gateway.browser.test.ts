import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { commands } from "vitest/browser";
import { GatewayStore } from "../../src/store/gateway-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { bytes, expectKind, objectStoreSuite } from "../suites/object-store.ts";

const PART = 64 * 1024;

// The page's origin is another than the gateway's: all of this goes through CORS.
let url: string;
let stores = 0;
beforeAll(async () => {
  url = await commands.startGateway([location.origin], PART);
});
afterAll(() => commands.stopGateways());

const storeAt = (at: string, name = `page-${stores++}`) =>
  new GatewayStore(at, { headers: () => ({ authorization: `Bearer ${name}` }) });

objectStoreSuite("GatewayStore in Chromium", async () => storeAt(url), { manyKeys: 1200 });

describe("a page of another origin", () => {
  test("that is allowed uploads in parts", async () => {
    const store = storeAt(url);
    const whole = bytes(5 * PART + 17);
    await store.put("key", whole, { ifNoneMatch: "*" });
    await expectKind(store.put("key", whole, { ifNoneMatch: "*" }), "precondition-failed");
    const { size, body } = await store.get("key");
    expect(size).toBe(whole.length);
    expect((await collect(body, size)).every((byte, i) => byte === whole[i])).toBe(true);
  });

  test("that is not allowed reads nothing and changes nothing", async () => {
    const closed = await commands.startGateway([], PART);
    for (const at of [closed, closed.replace("127.0.0.1", "localhost")]) {
      const store = storeAt(at);
      await expectKind(store.capabilities(), "network");
      await expectKind(store.get("key"), "network");
      await expectKind(store.put("key", bytes(1)), "network");
      await expectKind(store.delete(["key"]), "network");
    }
  });

  test("cannot go round the header by what browsers send without asking", async () => {
    const query = "?verb=put&key=forged&size=1";
    const post = () =>
      fetch(url + query, { method: "POST", mode: "no-cors", body: "x", headers: { "sluice-protocol": "1" } });
    await post();
    navigator.sendBeacon(url + query, "x");
    const store = storeAt(url, "nobody");
    await expectKind(store.get("forged"), "not-found");
  });

  test("has no cookies sent that it did not ask for, and may ask", async () => {
    for (const credentials of ["omit", "same-origin", "include"] as const) {
      const store = new GatewayStore(url, {
        credentials,
        headers: () => ({ authorization: "Bearer cookies" }),
      });
      expect(await store.capabilities()).toEqual({ conditionalCreate: "atomic" });
    }
  });
});
