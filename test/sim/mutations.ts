import { join } from "node:path";
import type { Plugin } from "vite";

/** An error that somebody might make: one line of the source, changed. */
export interface Mutation {
  readonly what: string;
  readonly file: string;
  readonly text: string;
  readonly instead: string;
  /** The first seed that is tried, where those before it do not find it, or take long: it saves time and nothing else. */
  readonly from?: number;
}

export const mutations: readonly Mutation[] = [
  {
    what: "a drain does not sync the WAL",
    file: "src/drain.ts",
    text: "context.wal.sync();",
    instead: "",
  },
  {
    what: "the WAL is restarted although commits are not cached",
    file: "src/vfs/shim-database.ts",
    text: "return !this.policy.mayRestart();",
    instead: "return false;",
  },
  {
    what: "a merge takes the older version of a page",
    file: "src/merge.ts",
    text: "(cursor.pgno === pgno && newest !== null)",
    instead: "false",
  },
  {
    what: "a segment is put without a condition",
    file: "src/upload.ts",
    text: 'ifNoneMatch: "*", ...(signal',
    instead: "...(signal",
  },
  {
    what: "another writer's segment is taken for our own",
    file: "src/taken-key.ts",
    text: "if (standing.id === entry.to.id) return standing.size;",
    instead: "return standing.size;",
  },
  {
    what: "an entry leaves the cache without being sent",
    file: "src/upload.ts",
    text: "context.landed?.entry === entry ? context.landed : await land(context, entry, signal)",
    instead: '{ object: { key: "", size: 0 } }',
  },
  {
    what: "a damaged entry of the cache counts as uploaded",
    file: "src/give-up.ts",
    text: "end = head.from",
    instead: "end = head.to",
  },
  {
    what: "a snapshot is published before the segments that lead to it",
    file: "src/take-snapshot.ts",
    text: "await uploaded(position.txid);",
    instead: "",
  },
  {
    what: "a snapshot is taken although nothing changed",
    file: "src/snapshot-task.ts",
    text: "if (context.capture.captured.txid === this.#newest.txid) return null;",
    instead: "",
    from: 2,
  },
  {
    what: "a step of the write cache is not synced",
    file: "src/cache/side-file.ts",
    text: "finish: (end) => {\n        this.#file.sync();",
    instead: "finish: (end) => {",
  },
  {
    what: "what is gathered is written where its last part belongs",
    file: "src/vfs/wal-buffer.ts",
    text: "if (this.#length === 0) this.#start = offset;",
    instead: "this.#start = offset;",
  },
  {
    what: "two connections write at a time",
    file: "src/vfs/shared-memory.ts",
    text: "if (other.exclusive & mask) return SQLITE_BUSY;",
    instead: "",
    from: 101,
  },
  {
    what: "a segment holds an older version of a page",
    file: "src/vfs/capture.ts",
    text: "for (let i = span - 1; i >= 0; i--) {",
    instead: "for (let i = 0; i < span; i++) {",
  },
  {
    what: "a segment misses its last page",
    file: "src/drain.ts",
    text: "for (let i = begin; i < end; i++) {",
    instead: "for (let i = begin; i < Math.max(end - 1, 1); i++) {",
  },
  {
    what: "the fingerprint is not compared",
    file: "src/recover.ts",
    text: "record.fingerprint !== null && record.fingerprint === fingerprint",
    instead: "record.fingerprint !== null",
    from: 156,
  },
  {
    what: "a resync does not sync the WAL",
    file: "src/resync-task.ts",
    text: "local.wal.sync();",
    instead: "",
  },
  {
    what: "a step of the write cache is taken over twice",
    file: "src/cache/step-mover.ts",
    text: "return { ...record, staged: serial };",
    instead: "return { ...record, staged: serial - 1 };",
  },
  {
    what: "a segment goes although its cover does not stand for it",
    file: "src/plan-compaction.ts",
    text: "return outer.minTxid <= inner.minTxid && inner.maxTxid !== null && inner.maxTxid <= outer.maxTxid!;",
    instead: "return outer.minTxid <= inner.minTxid;",
    from: 101,
  },
  {
    what: "every segment older than the shortest retention goes",
    file: "src/plan-retention.ts",
    text: "if (deletesLevel0 && group.every(({ age }) => age >= fineRetentionMs))",
    instead: "if (deletesLevel0)",
  },
  {
    what: "the end of the chain counts as known for ever",
    file: "src/known-tail.ts",
    text: "return this.#since !== null && this.#since() < KNOWN_MS;",
    instead: "return this.#since !== null;",
    from: 640,
  },
  {
    what: "a writer does not look whether the chain still ends where it came to",
    file: "src/own-end.ts",
    text: "if (!holdsEnd) await",
    instead: "if (false) await",
    from: 200,
  },
  {
    what: "whoever reads gives up once an object is gone",
    file: "src/look-again.ts",
    text: "if (!isGone(error) || attempts === ATTEMPTS) throw error;",
    instead: "if (attempts > 0) throw error;",
    from: 200,
  },
  {
    what: "a followed copy takes pages of another state for equal",
    file: "src/follow-apply.ts",
    text: "if (page !== null && codecs.hash64(page) === object.hashes[entry]) pages.passOver(pgno);",
    instead: "if (page !== null) pages.passOver(pgno);",
    from: 540,
  },
];

/** Builds with one mutation. The build fails where its text is not found exactly once. */
export function mutate({ file, text, instead }: Mutation, root: string): Plugin {
  let done = false;
  return {
    name: "sluice:mutate",
    transform(code, id) {
      if (id !== join(root, file)) return null;
      if (code.split(text).length !== 2) this.error(`${file} has to hold once: ${text}`);
      done = true;
      return code.replace(text, () => instead);
    },
    buildEnd() {
      if (!done) this.error(`${file} is not part of the simulation`);
    },
    enforce: "pre",
  };
}
