import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { useSluice } from "../cli/sluice.ts";
import { createTable, insert, useReplicators } from "../replicator/fixture.ts";
import { freshBucket, rawClient, server } from "./server.ts";

/** The command line over a real S3 server: the endpoint in the URL, the keys in the environment. */
describe.skipIf(server === null)("sluice over S3", () => {
  const sluice = useSluice();
  const use = useReplicators();

  async function location() {
    const { bucket, endpoint, credentials } = await freshBucket();
    const environment = {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    };
    const url = `s3://${bucket}/backups/app/?endpoint=${endpoint}`;
    return { bucket, endpoint, credentials, environment, url };
  }

  test("ls, status, inspect, restore, destroy", async () => {
    const { bucket, endpoint, credentials, environment, url } = await location();
    const folder = use.folder();
    const [dbPath, copy] = [join(folder, "a.db"), join(folder, "copy.db")];
    const s3 = { endpoint, credentials };
    const where = { s3Bucket: bucket, s3Prefix: "backups/app", s3 };
    const replicator = await use.create(dbPath, undefined, where);
    await replicator.start();
    const db = replicator.openDatabase();
    createTable(db);
    await replicator.snapshot();
    for (const word of ["one", "two"]) {
      insert(db, word);
      await replicator.flush();
    }
    db.close();
    await replicator.stop();

    const listed = await sluice.json(["ls", url], environment);
    expect(listed).toMatchObject({ code: 0, stderr: "", document: { problem: null, newest: {} } });
    const { snapshots, newest } = listed.document as {
      snapshots: { key: string }[];
      newest: { txid: number };
    };
    const status = await sluice.json(["status", url, "--max-age", "1h"], environment);
    expect(status).toMatchObject({ code: 0, stderr: "", document: { txid: newest.txid, stale: false } });
    for (const { key } of snapshots) {
      const inspected = await sluice.json(["inspect", url, key], environment);
      expect(inspected).toMatchObject({ code: 0, document: { key, ok: true } });
    }
    const restored = await sluice.json(["restore", url, copy], environment);
    expect(restored).toMatchObject({ code: 0, document: { restored: true, database: copy } });
    expect(readFileSync(copy).equals(readFileSync(dbPath))).toBe(true);

    const client = rawClient();
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: "backups/app/mine", Body: "mine" }));
    client.destroy();
    expect(await sluice.run(["destroy", url], environment)).toMatchObject({ code: 1, stdout: "" });
    expect(await sluice.json(["destroy", url, "--yes"], environment)).toMatchObject({ code: 0 });
    expect((await sluice.run(["ls", url], environment)).code).toBe(3);
    expect((await sluice.run(["restore", url, join(folder, "none.db")], environment)).code).toBe(3);
  });

  test("no bucket, wrong keys, no keys, no server: each says what", async () => {
    const { url, environment } = await location();
    const homeless = { HOME: "/nowhere", AWS_EC2_METADATA_DISABLED: "true" };
    const cases: [string, NodeJS.ProcessEnv, RegExp][] = [
      [url.replace("s3://", "s3://not-"), environment, /NoSuchBucket/],
      [url, { ...environment, AWS_SECRET_ACCESS_KEY: "wrong" }, /credentials/],
      [
        url,
        { ...homeless, AWS_ACCESS_KEY_ID: undefined, AWS_SHARED_CREDENTIALS_FILE: "/dev/null" },
        /AWS_ACCESS_KEY_ID/,
      ],
      [url.replace(/endpoint=.*/, "endpoint=http://127.0.0.1:1"), environment, /ECONNREFUSED.*\n.*endpoint/],
    ];
    for (const [replica, env, words] of cases) {
      const { code, stdout, stderr } = await sluice.run(["ls", replica], env);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(words);
      expect(stderr).not.toMatch(/\n +at /);
      expect(stderr).not.toContain(environment.AWS_SECRET_ACCESS_KEY);
    }
  });

  test("the demo cuts a proxy before the server, and cleans up", { timeout: 240_000 }, async () => {
    const { url, environment } = await location();
    const { code, document } = await sluice.json(["demo", "--replica", url], environment);
    const { findings } = document as { findings: { good: boolean }[] };
    expect(findings.filter(({ good }) => !good)).toEqual([]);
    expect(code).toBe(0);
    expect((await sluice.run(["ls", url], environment)).code).toBe(3);
  });
});
