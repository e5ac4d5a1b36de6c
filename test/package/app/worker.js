import { loadCodecs, S3Store, s3Runtime } from "sqlite-sluice/parts";
import { SqliteReplicator } from "sqlite-sluice/web";

const MIB = 1024 * 1024;
const text = new TextEncoder().encode("hello");

addEventListener("message", ({ data: config }) => {
  run(config).then(
    (answer) => postMessage(answer),
    (error) => postMessage({ error: error.stack ?? String(error) }),
  );
});

async function run(config) {
  return { ...(await useStore(config)), ...(await useCodecs()), found: await replicate(config) };
}

/** Each kind of call that needs the SDK's XML parser. Under a prefix of its own: vite may load a page twice. */
async function useStore(config) {
  const store = new S3Store({ ...config, prefix: crypto.randomUUID() }, s3Runtime);
  const { conditionalCreate } = await store.capabilities();
  await store.put("a", text, { ifNoneMatch: "*" });
  const second = await store.put("a", text, { ifNoneMatch: "*" }).catch(({ kind }) => kind);
  await store.putStream("large", blocks(20));
  const { size } = await store.get("large", { range: { offset: 0, length: 1 } });
  const listed = await keys(store);
  const missing = await store.get("missing").catch(({ kind }) => kind);
  await store.delete(listed);
  return { conditionalCreate, second, size, listed, missing, left: await keys(store) };
}

async function useCodecs() {
  const codecs = await loadCodecs();
  const packed = codecs.compress(new Uint8Array(4096).fill(7), 3);
  const unpacked = codecs.decompress(packed, 4096);
  return { packed: packed.length < 100, same: unpacked.every((byte) => byte === 7) };
}

/** What a second database finds that was restored from the first one's replica. */
async function replicate({ bucket: s3Bucket, region, endpoint, credentials }) {
  const s3Prefix = crypto.randomUUID();
  const create = (name) =>
    SqliteReplicator.create({
      dbPath: `/${name}-${s3Prefix}.db`,
      s3Bucket,
      s3Prefix,
      s3: { region, endpoint, credentials },
    });
  const first = await create("first");
  await first.start();
  const db = first.openDatabase();
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES('hello')");
  await first.waitUntilUploaded();
  db.close();
  await first.stop();
  const second = await create("second");
  await second.start();
  const copy = second.openDatabase();
  const found = copy.selectValue("SELECT a FROM t");
  copy.close();
  await second.stop();
  return found;
}

async function* blocks(count) {
  for (let i = 0; i < count; i++) yield new Uint8Array(MIB).fill(i);
}

async function keys(store) {
  const found = [];
  for await (const { key } of store.list("")) found.push(key);
  return found;
}
