import { randomUUID } from "node:crypto";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** The ids of a one-node cluster, and its configuration file: no authentication, no replicas, objects in memory. */
export interface ClusterConf {
  readonly fsid: string;
  readonly monAddress: string;
  readonly text: string;
}

export function clusterConf(folder: string, libraries: string, monPort: number): ClusterConf {
  const fsid = randomUUID();
  const monAddress = `[v2:127.0.0.1:${monPort}/0]`;
  const text = `[global]
fsid = ${fsid}
mon host = ${monAddress}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
# No keys: every socket is on the loopback address.
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
# One copy, few placement groups: pools are made in no time.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
run dir = ${folder}/run
crash dir = ${folder}/run
admin socket = ${folder}/run/$name.$pid.asok
log file = ${folder}/log/$name.$pid.log
log max recent = 50
osd class dir = ${libraries}/rados-classes
erasure code dir = ${libraries}/ceph/erasure-code
plugin dir = ${libraries}/ceph
[mon]
mon data = ${folder}/mon
mon cluster log file = ${folder}/log/cluster.log
# The host's disk may be nearly full; that is not ours to judge.
mon data avail warn = 1
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01
[osd]
osd data = ${folder}/osd
osd journal = ${folder}/osd/journal
osd objectstore = memstore
memstore device bytes = 4294967296
osd op num shards = 2
osd op num threads per shard = 1
[client.rgw]
rgw data = ${folder}/rgw
rgw thread pool size = 32
rgw rados pool pg num min = 4
rgw enable usage log = false
debug rgw = 1
`;
  return { fsid, monAddress, text };
}

/** Where Debian put Ceph's plugins: /usr/lib/<architecture>. */
export function librariesOfCeph(): string {
  const folders = readdirSync("/usr/lib").map((name) => join("/usr/lib", name));
  const found = folders.find((folder) => existsSync(join(folder, "rados-classes", "libcls_version.so")));
  if (found === undefined) throw new Error("Ceph's rados-classes are not under /usr/lib");
  return found;
}
