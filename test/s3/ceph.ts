import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterConf, librariesOfCeph } from "./ceph-conf.ts";
import { endChild, freePort, run, startChild } from "./children.ts";
import { Gateway } from "./gateway.ts";

const FOLDER_NAME = /^sluice-ceph-(\d+)-/;

/** What tests are told about the S3 server; plain data, as it crosses from the main process to the workers. */
export interface S3Server {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Where the cluster's configuration and logs are: further gateways to it start from there. */
  readonly folder: string;
}

export interface Ceph {
  readonly server: S3Server;
  stop(): Promise<void>;
}

/**
 * Starts Ceph with its S3 gateway, real and whole on one node: a monitor, one OSD that keeps objects in memory, and
 * radosgw, all on free ports of 127.0.0.1 and in a temporary folder. Takes about two seconds and 240 MB.
 */
export async function startCeph(): Promise<Ceph> {
  sweep();
  const folder = mkdtempSync(join(tmpdir(), `sluice-ceph-${process.pid}-`));
  const children: ChildProcess[] = [];
  const stop = async () => {
    await Promise.all(children.map(endChild));
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await startCluster(folder, children);
    const keys = { accessKeyId: "SLUICETESTKEY0000001", secretAccessKey: randomUUID().replaceAll("-", "") };
    await run(
      folder,
      "radosgw-admin",
      ...["-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test"],
      ...[`--access-key=${keys.accessKeyId}`, `--secret-key=${keys.secretAccessKey}`],
    );
    const gateway = await Gateway.start(folder);
    const { endpoint } = gateway;
    return {
      server: { endpoint, region: "us-east-1", ...keys, folder },
      stop: async () => {
        await gateway.stop();
        await stop();
      },
    };
  } catch (error) {
    const log = join(folder, "log", "output.log");
    const output = existsSync(log) ? readFileSync(log, "utf8").slice(-4000) : "";
    await stop();
    throw new Error(`Ceph did not start. Its last output:\n${output}`, { cause: error });
  }
}

async function startCluster(folder: string, children: ChildProcess[]): Promise<void> {
  for (const name of ["mon", "osd", "rgw", "run", "log"]) mkdirSync(join(folder, name));
  const { fsid, monAddress, text } = clusterConf(folder, librariesOfCeph(), await freePort());
  writeFileSync(join(folder, "ceph.conf"), text);

  await run(folder, "monmaptool", "--create", "--fsid", fsid, "--addv", "a", monAddress, "monmap");
  await run(folder, "ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap");
  children.push(startChild(folder, "ceph-mon", ["-i", "a", "-f"]));

  const osd = randomUUID();
  await run(folder, "ceph", "--connect-timeout", "30", "osd", "new", osd);
  await run(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd);
  children.push(startChild(folder, "ceph-osd", ["-i", "0", "-f"]));
  // Nobody waits for the OSD to be up: the next that needs it, radosgw-admin, does.
}

/** Removes what runs that were killed left behind. Their processes are gone: see startChild. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = FOLDER_NAME.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
  }
}
