import { execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import * as nodeFs from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "vite";
import { afterAll, describe, expect, test } from "vitest";
import { type DirectoryFs, DirectoryStore } from "../../node/directory-store.ts";
import { collect } from "../../src/store/object-store.ts";
import { bytes, expectKind, objectStoreSuite } from "../suites/object-store.ts";

const base = mkdtempSync(join(tmpdir(), "sluice-store-"));
afterAll(() => rmSync(base, { recursive: true }));
let directories = 0;
/** Not made yet. */
function freshDirectory(): string {
  directories += 1;
  return join(base, `${directories}`);
}
function storeIn(directory: string, fs?: DirectoryFs): DirectoryStore {
  return new DirectoryStore(pathToFileURL(directory), fs);
}

objectStoreSuite("DirectoryStore", async () => storeIn(freshDirectory()));

async function keysOf(store: DirectoryStore, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}

/** Every file and directory under it. */
function everything(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[]).sort();
}

function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up`), { code });
}

/** The real fs with some functions put over it. */
function fsWith(over: Partial<DirectoryFs>): DirectoryFs {
  return { ...nodeFs, ...over };
}

describe("url", () => {
  test("is the directory's, whatever it looks like", () => {
    expect(storeIn("/a b/ü%").url).toBe("file:///a%20b/%C3%BC%25");
    expect(new DirectoryStore("file:///a/b/").url).toBe("file:///a/b");
    expect(new DirectoryStore("file:///").url).toBe("file:///");
  });
  test.each([
    "/a/b",
    "a",
    "",
    "file:a",
    "file:/a",
    "s3://a/b",
    "file://",
    "file://host/a",
    "file:///a?b=c",
    "file:///a#b",
  ])("%j is refused", (url) => {
    expect(() => new DirectoryStore(url)).toThrow(
      expect.objectContaining({ code: "SLUICE_CONFIG", field: "replica" }),
    );
  });
});

describe("files", () => {
  test("an object is one file at the path of its key; nothing else stays", async () => {
    const directory = join(freshDirectory(), "made", "on the way");
    const store = storeIn(directory);
    expect(await keysOf(store)).toEqual([]);
    await store.delete(["a"]);
    await expectKind(store.get("a"), "not-found");
    expect(existsSync(directory)).toBe(false);
    await store.put("wal/0/1", bytes(10), { ifNoneMatch: "*" });
    await store.put("wal/0/1", bytes(11));
    await store.putStream("wal/1/2", (await store.get("wal/0/1")).body);
    expect(everything(directory)).toEqual([".sluice-tmp", "wal", "wal/0", "wal/0/1", "wal/1", "wal/1/2"]);
    expect(readFileSync(join(directory, "wal/1/2"))).toEqual(Buffer.from(bytes(11)));
  });

  test("folders that became empty go, the directory itself stays", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory);
    await store.put("a/b/c/d", bytes(1));
    await store.put("a/e", bytes(1));
    await store.delete(["a/b/c/d"]);
    expect(everything(directory)).toEqual([".sluice-tmp", "a", "a/e"]);
    await store.delete(["a/e"]);
    expect(everything(directory)).toEqual([]);
    await store.put("a/b/c/d", bytes(1));
    expect(await keysOf(store)).toEqual(["a/b/c/d"]);
  });

  test("failed, refused and aborted writes leave no file", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory);
    await store.put("key", bytes(1));
    const source = (async function* () {
      yield bytes(100_000);
      throw new Error("the source failed");
    })();
    await expect(store.putStream("other", source)).rejects.toThrow();
    await expectKind(store.put("key", bytes(1), { ifNoneMatch: "*" }), "precondition-failed");
    await Promise.allSettled(
      Array.from({ length: 12 }, () => store.put("race", bytes(1), { ifNoneMatch: "*" })),
    );
    const aborter = new AbortController();
    const endless = (async function* () {
      yield bytes(10);
      queueMicrotask(() => aborter.abort());
      await new Promise(() => undefined);
    })();
    await expect(store.putStream("other", endless, { signal: aborter.signal })).rejects.toThrow();
    expect(everything(directory)).toEqual([".sluice-tmp", "key", "race"]);
  });

  test("what a crash left goes after an hour; what is younger may be another process's", async () => {
    const directory = freshDirectory();
    mkdirSync(join(directory, ".sluice-tmp"), { recursive: true });
    const [old, young] = [join(directory, ".sluice-tmp/old"), join(directory, ".sluice-tmp/young")];
    writeFileSync(old, "half an object");
    writeFileSync(young, "half an object");
    utimesSync(old, Date.now() / 1000 - 3700, Date.now() / 1000 - 3700);
    const store = storeIn(directory);
    expect(await keysOf(store)).toEqual([]);
    expect(existsSync(old)).toBe(true);
    await store.put("key", bytes(1));
    expect(existsSync(old)).toBe(false);
    expect(existsSync(young)).toBe(true);
    expect(await keysOf(store)).toEqual(["key"]);
  });

  test("a writer whose temporary file was taken for a leftover fails, and may try again", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory);
    const source = (async function* () {
      yield bytes(10);
      for (const name of readdirSync(join(directory, ".sluice-tmp")))
        rmSync(join(directory, ".sluice-tmp", name));
      yield bytes(10);
    })();
    await expectKind(store.putStream("key", source), "unavailable");
    expect(await keysOf(store)).toEqual([]);
    await store.put("key", bytes(1));
  });

  test("an object and a folder cannot have one name", async () => {
    const store = storeIn(freshDirectory());
    await store.put("a/b", bytes(1));
    for (const key of ["a", "a/b/c", "a/b/c/d"]) {
      await expectKind(store.put(key, bytes(1)), "invalid-request");
      await expectKind(store.put(key, bytes(1), { ifNoneMatch: "*" }), "invalid-request");
    }
    await expectKind(store.put(`${"x".repeat(256)}/a`, bytes(1)), "invalid-request");
    expect(await keysOf(store)).toEqual(["a/b"]);
  });

  test("the folder of unfinished objects is not a place for keys, at any depth", async () => {
    const store = storeIn(freshDirectory());
    for (const key of [".sluice-tmp", ".sluice-tmp/a", "a/.sluice-tmp/b"]) {
      await expectKind(store.put(key, bytes(1)), "invalid-request");
      await expectKind(store.get(key), "invalid-request");
      await expectKind(store.delete([key]), "invalid-request");
    }
    await store.put("a/.sluice-tmp-not", bytes(1));
    expect(await keysOf(store, ".sluice-tmp/")).toEqual([]);
    expect(await keysOf(store)).toEqual(["a/.sluice-tmp-not"]);
  });

  test("no key and no prefix leads out of the directory", async () => {
    const directory = freshDirectory();
    const secret = join(base, "secret");
    writeFileSync(secret, "do not touch");
    const store = storeIn(directory);
    await store.put("a/b", bytes(1));
    for (const key of [
      "../secret",
      "a/../../secret",
      "/etc/passwd",
      "a/./../../secret",
      "..",
      "a\0/../../secret",
      secret,
    ]) {
      await expectKind(store.get(key), "invalid-request");
      await expectKind(store.put(key, bytes(1)), "invalid-request");
      await expectKind(store.delete([key]), "invalid-request");
    }
    for (const prefix of ["../", "../s", "a/../../", "/", `${base}/`])
      expect(await keysOf(store, prefix)).toEqual([]);
    // Not a way up where the system has no backslashes in paths.
    if (process.platform !== "win32") await expectKind(store.get("..\\secret"), "not-found");
    expect(readFileSync(secret, "utf8")).toBe("do not touch");
  });

  test("symbolic links are not listed", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory);
    await store.put("a", bytes(1));
    symlinkSync("..", join(directory, "up"));
    symlinkSync("a", join(directory, "alias"));
    expect(await keysOf(store)).toEqual(["a"]);
  });
});

describe("open files", () => {
  const openUnder = (directory: string) =>
    readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(directory);
      } catch {
        return false;
      }
    });

  test.runIf(process.platform === "linux")("none stays, however a body or list is left", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory);
    const size = 1024 * 1024;
    await store.put("a/key", bytes(size));
    await store.put("b", new Uint8Array());

    await store.get("b");
    await collect((await store.get("a/key")).body, size);
    for await (const _ of (await store.get("a/key")).body) break;
    const { body } = await store.get("a/key");
    expect(openUnder(directory)).toHaveLength(1);
    await body[Symbol.asyncIterator]().return?.();
    const aborter = new AbortController();
    const aborted = (await store.get("a/key", { signal: aborter.signal })).body[Symbol.asyncIterator]();
    await aborted.next();
    aborter.abort();
    await expect(aborted.next()).rejects.toBe(aborter.signal.reason);
    await expectKind(store.get("a/key", { ifMatch: "another" }), "precondition-failed");
    await expectKind(store.get("a/key", { range: { offset: size, length: 1 } }), "invalid-request");
    await expectKind(store.get("a"), "not-found");
    for await (const _ of store.list("")) break;
    await expect(store.put("a", bytes(1))).rejects.toThrow();
    expect(openUnder(directory)).toEqual([]);
  });
});

describe("errors of the system", () => {
  test.each([
    ["ENOSPC", "no-space"],
    ["EDQUOT", "no-space"],
    ["EACCES", "access-denied"],
    ["EROFS", "access-denied"],
    ["EIO", "unavailable"],
    ["EMFILE", "unavailable"],
  ] as const)("%s is %s", async (code, kind) => {
    const fail = () => Promise.reject(errno(code));
    const directory = freshDirectory();
    await storeIn(directory).put("key", bytes(1));
    await expectKind(storeIn(directory, fsWith({ open: fail })).put("new", bytes(1)), kind);
    await expectKind(storeIn(directory, fsWith({ rename: fail })).put("new", bytes(1)), kind);
    await expectKind(
      storeIn(directory, fsWith({ link: fail })).put("new", bytes(1), { ifNoneMatch: "*" }),
      kind,
    );
    await expectKind(storeIn(directory, fsWith({ mkdir: fail })).put("a/new", bytes(1)), kind);
    await expectKind(storeIn(directory, fsWith({ open: fail })).get("key"), kind);
    await expectKind(storeIn(directory, fsWith({ unlink: fail })).delete(["key"]), kind);
    await expectKind(keysOf(storeIn(directory, fsWith({ opendir: fail }))), kind);
    await expectKind(keysOf(storeIn(directory, fsWith({ stat: fail }))), kind);
    expect(await keysOf(storeIn(directory))).toEqual(["key"]);
  });

  test.each([1, 2, 3])(
    "a sync that fails in the background fails the put, the %i. of three",
    async (failing) => {
      let syncs = 0;
      const fs = fsWith({
        async open(...args: Parameters<typeof nodeFs.open>) {
          const handle = await nodeFs.open(...args);
          const datasync = handle.datasync.bind(handle);
          handle.datasync = () => (++syncs === failing ? Promise.reject(errno("EIO")) : datasync());
          return handle;
        },
      });
      const directory = freshDirectory();
      const chunks = async function* () {
        for (let i = 0; i < 3; i++) yield bytes(8 << 20);
      };
      await expectKind(storeIn(directory, fs).putStream("key", chunks()), "unavailable");
      expect(syncs).toBe(failing);
      expect(await keysOf(storeIn(directory))).toEqual([]);
      expect(readdirSync(join(directory, ".sluice-tmp"))).toEqual([]);
    },
  );

  test("delete tries all and names the first that failed", async () => {
    const directory = freshDirectory();
    const store = storeIn(
      directory,
      fsWith({
        unlink: (path) =>
          /\/b\/[12]$/.test(String(path)) ? Promise.reject(errno("EIO")) : nodeFs.unlink(path),
      }),
    );
    for (const key of ["a", "b/1", "b/2", "c"]) await store.put(key, bytes(1));
    await expect(store.delete(["a", "b/1", "b/2", "c"])).rejects.toMatchObject({
      kind: "unavailable",
      detail: { key: "b/1" },
    });
    expect(await keysOf(store)).toEqual(["b/1", "b/2"]);
  });

  test("without hard links a create is a check and a put, and capabilities say so", async () => {
    const directory = freshDirectory();
    const store = storeIn(directory, fsWith({ link: () => Promise.reject(errno("ENOTSUP")) }));
    expect(await store.capabilities()).toEqual({ conditionalCreate: "none" });
    await store.put("key", bytes(1, 1), { ifNoneMatch: "*" });
    await expectKind(store.put("key", bytes(1, 2), { ifNoneMatch: "*" }), "precondition-failed");
    expect(everything(directory)).toEqual([".sluice-tmp", "key"]);
    expect(await storeIn(directory).capabilities()).toEqual({ conditionalCreate: "atomic" });
  });

  test("an object is synced before it gets its name, and its folders after", async () => {
    const directory = freshDirectory();
    const steps: string[] = [];
    const short = (path: unknown) =>
      String(path)
        .slice(base.length)
        .replace(/[0-9a-f-]{36}/, "temp");
    const spied = fsWith({
      open: async (path, flags) => {
        const handle = await nodeFs.open(path, flags);
        const { sync } = handle;
        handle.sync = () => {
          steps.push(`sync ${short(path)}`);
          return sync.call(handle);
        };
        return handle;
      },
      link: (from, to) => {
        steps.push(`link ${short(to)}`);
        return nodeFs.link(from, to);
      },
    });
    const root = short(directory);
    await storeIn(directory, spied).put("a/b/key", bytes(1), { ifNoneMatch: "*" });
    const at = (step: string) => {
      expect(steps).toContain(step);
      return steps.indexOf(step);
    };
    const linked = at(`link ${root}/a/b/key`);
    expect(at(`sync ${root}/.sluice-tmp/temp`)).toBeLessThan(linked);
    expect(steps.lastIndexOf(`sync ${root}/a/b`)).toBeGreaterThan(linked);
    at(`sync ${root}/a`);
    at(`sync ${root}`);
    at("sync ");
  });
});

describe.runIf(process.platform === "linux" && process.getuid?.() === 0)("a file system of its own", () => {
  async function onTmpfs(act: (mount: string) => Promise<void>): Promise<void> {
    const mount = freshDirectory();
    mkdirSync(mount);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
    try {
      await act(mount);
    } finally {
      execFileSync("umount", ["--lazy", mount]);
    }
  }

  test("full: no-space, nothing is left, and what fits still goes", async () => {
    await onTmpfs(async (mount) => {
      const store = storeIn(join(mount, "replica"));
      await store.put("small", bytes(1000));
      await expectKind(store.put("large", bytes(2 * 1024 * 1024)), "no-space");
      const stream = (async function* () {
        for (let i = 0; i < 40; i++) yield bytes(65_536);
      })();
      await expectKind(store.putStream("a/large", stream), "no-space");
      expect(everything(join(mount, "replica"))).toEqual([".sluice-tmp", "small"]);
      await store.put("also small", bytes(500_000));
      expect(await keysOf(store)).toEqual(["also small", "small"]);
    });
  });

  test("read-only: reading works, writing is access-denied", async () => {
    await onTmpfs(async (mount) => {
      await storeIn(mount).put("key", bytes(10));
      execFileSync("mount", ["-o", "remount,ro", mount]);
      const store = storeIn(mount);
      expect(await collect((await store.get("key")).body, 10)).toEqual(bytes(10));
      expect(await keysOf(store)).toEqual(["key"]);
      await expectKind(store.put("new", bytes(1)), "access-denied");
      await expectKind(store.delete(["key"]), "access-denied");
      await expectKind(store.capabilities(), "access-denied");
      await expect(store.put("new", bytes(1))).rejects.toThrow(
        /^new: EROFS.*\. Whoever replicates needs the right/,
      );
    });
  });
});

test("two processes race to create keys: each key has one winner, and its bytes", async () => {
  const script = freshDirectory();
  await build({
    configFile: false,
    logLevel: "silent",
    build: { ssr: "node/directory-store.ts", outDir: script, emptyOutDir: false },
  });
  const [bundle] = readdirSync(script);
  const child = join(script, "racer.mjs");
  writeFileSync(
    child,
    `import { DirectoryStore } from ${JSON.stringify(`./${bundle}`)};
     const [, , url, me] = process.argv;
     const store = new DirectoryStore(url);
     process.once("message", async () => {
       const won = [];
       for (let i = 0; i < 200; i++) {
         const key = "race/" + (i % 20) + "/" + i;
         try {
           await store.put(key, new TextEncoder().encode(me + key), { ifNoneMatch: "*" });
           won.push(key);
         } catch (error) {
           if (error.kind !== "precondition-failed") throw error;
         }
         // Takes folders from under the other.
         await store.put("race/" + ((i + 1) % 20) + "/" + me, new Uint8Array(1));
         await store.delete(["race/" + ((i + 1) % 20) + "/" + me]);
       }
       process.send(won, () => process.disconnect());
     });
     process.send("ready");`,
  );
  const directory = freshDirectory();
  const racers = ["A", "B"].map((me) => fork(child, [pathToFileURL(directory).href, me], { execArgv: [] }));
  await Promise.all(racers.map((racer) => once(racer, "message")));
  const results = racers.map(async (racer) => {
    const [won] = await Promise.race([
      once(racer, "message"),
      once(racer, "exit").then(([code]) => {
        throw new Error(`a racer ended with ${code}`);
      }),
    ]);
    return won as string[];
  });
  for (const racer of racers) racer.send("go");
  const [a, b] = (await Promise.all(results)) as [string[], string[]];
  const store = storeIn(directory);
  expect([...a, ...b].sort()).toEqual((await keysOf(store)).sort());
  expect(a.length + b.length).toBe(200);
  for (const [me, won] of [
    ["A", a],
    ["B", b],
  ] as const) {
    for (const key of won) {
      const stored = await collect((await store.get(key)).body, 100);
      expect(new TextDecoder().decode(stored)).toBe(me + key);
    }
  }
  expect(readdirSync(join(directory, ".sluice-tmp"))).toEqual([]);
});
