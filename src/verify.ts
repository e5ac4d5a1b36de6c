import { type Claim, readClaim } from "./claim.ts";
import { refuseUnknown } from "./config.ts";
import { isDamage } from "./damage.ts";
import { UnsupportedFormatError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { genesisPosition } from "./format/genesis.ts";
import { lineageKey } from "./format/keys.ts";
import { isGone } from "./look-again.ts";
import type { Clock } from "./platform.ts";
import { prefetch } from "./prefetch.ts";
import { findObject, type Listing, listReplica, type SegmentInfo, type SnapshotInfo } from "./replica.ts";
import type { ObjectInfo, ObjectStore } from "./store/object-store.ts";
import { PatientStore } from "./store/patient-store.ts";
import { analyseChain } from "./verify-chain.ts";
import { checkContents } from "./verify-content.ts";
import { checkObject, type ObjectCheck, type SoundObject } from "./verify-object.ts";
import {
  type Finding,
  finding,
  type VerifyOptions,
  type VerifyReport,
  verifyFields,
} from "./verify-report.ts";

/** Listings, of which each but the first means that an object of the one before is gone: compacted, and deleted. */
const TRIES = 10;

/** Objects that are checked at a time. */
const OPEN_AHEAD = 4;

/** Restores the newest state somewhere and has SQLite check it. Throws what a restore throws. */
export type Replay = (signal: AbortSignal | undefined) => Promise<void>;

/**
 * Checks a replica without any local database: every object whole, the chain over all levels and snapshots, that each
 * snapshot is what the objects before it add up to and each merged segment what its parts do; then `replay`. Damage is an
 * answer, never an error.
 *
 * Throws ConfigError, StoreError, and the signal's reason.
 */
export async function verifyReplica(
  unpatient: ObjectStore,
  { codecs, clock }: { readonly codecs: Codecs; readonly clock: Clock },
  options: VerifyOptions,
  replay: Replay | null,
): Promise<VerifyReport> {
  refuseUnknown(options, verifyFields, "verify options");
  const store = new PatientStore(unpatient, clock);
  const checked = new Map<string, ObjectCheck>();
  for (let tries = 1; ; tries++) {
    try {
      return await new Verification(store, codecs, options, replay, checked, tries === TRIES).run();
    } catch (error) {
      if (tries === TRIES || !isGone(error)) throw error;
    }
  }
}

class Verification {
  readonly #findings: Finding[] = [];
  #pages = 0;
  #objects = 0;

  constructor(
    readonly store: ObjectStore,
    readonly codecs: Codecs,
    readonly options: VerifyOptions,
    readonly replay: Replay | null,
    /**
     * Of this try and those before, by what a listing says of the object: retention goes on while a large replica is read, and
     * what was read is not read again for it.
     */
    readonly checked: Map<string, ObjectCheck>,
    /** What is listed and not there is a finding, and no longer a reason to look again. */
    readonly last: boolean,
  ) {}

  async run(): Promise<VerifyReport> {
    const { store, codecs, options, replay } = this;
    const { quick = false, signal } = options;
    const listing = await listReplica(store, signal);
    const listed = [...listing.snapshots, ...listing.segments];
    const bytes = listed.reduce((sum, { size }) => sum + size, 0);
    const claim = await this.#claim(listed.length > 0);
    const nothing = claim === null && listed.length === 0 && this.#findings.length === 0;
    const { sound, unsound } = await this.#open(listed, claim, bytes);
    const lineage = claim?.lineage ?? sound[0]?.lineage ?? null;
    const genesis = genesisPosition(lineage ?? "", codecs);
    const { findings, steps, end } = analyseChain(sound, unsound, genesis);
    this.#findings.push(...findings, ...(await checkContents(store, steps, codecs, signal)));
    if (!nothing) this.#requireSnapshot(listing);
    const harmless = this.#findings.every(({ problem }) => problem === "stray");
    const restored = nothing || quick || replay === null ? null : await this.#replay(replay, harmless);
    return {
      ok: !nothing && this.#findings.every(({ problem }) => problem === "stray"),
      lineage,
      quick,
      objects: this.#objects,
      bytes,
      pages: this.#pages,
      oldest: sound.find(({ from }) => from === null)?.to ?? null,
      newest: end,
      restored,
      findings: this.#findings,
    };
  }

  async #claim(needed: boolean): Promise<Claim | null> {
    try {
      const claim = await readClaim(this.store, this.options.signal);
      if (claim !== null || !needed) return claim;
      this.#findings.push(finding("claim", `there are objects, but no ${lineageKey}`, { key: lineageKey }));
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#findings.push(finding("claim", error.message, { key: lineageKey }));
    }
    return null;
  }

  /** Opens and checks each object by itself. Unsound are the segments that cannot be followed. */
  async #open(
    listed: readonly (SegmentInfo | SnapshotInfo)[],
    claim: Claim | null,
    totalBytes: number,
  ): Promise<{ sound: SoundObject[]; unsound: SegmentInfo[] }> {
    const { quick = false, signal, onProgress } = this.options;
    const sound: SoundObject[] = [];
    const unsound: SegmentInfo[] = [];
    let bytes = 0;
    const totalObjects = listed.length;
    const check = async (info: SegmentInfo | SnapshotInfo) => ({
      info,
      check: await this.#check(info, quick, signal),
    });
    for await (const { info, check: checked } of prefetch(listed, OPEN_AHEAD, check)) {
      const { object, findings, pages } = checked;
      signal?.throwIfAborted();
      this.#findings.push(...findings);
      this.#pages += pages;
      this.#objects += object === null ? 0 : 1;
      if (object !== null && this.#belongs(object, claim, sound)) sound.push(object);
      else if ("minTxid" in info) unsound.push(info);
      bytes += info.size;
      onProgress?.({ objects: sound.length + unsound.length, totalObjects, bytes, totalBytes });
    }
    return { sound, unsound };
  }

  async #check(info: SegmentInfo | SnapshotInfo, quick: boolean, signal: AbortSignal | undefined) {
    const { store, codecs, checked } = this;
    const name = nameOf(info);
    try {
      const check = checked.get(name) ?? (await checkObject(store, info, codecs, quick, signal));
      checked.set(name, check);
      return check;
    } catch (error) {
      if (!this.last || !isGone(error)) throw error;
      const { key } = info;
      const listed = await findObject(store, key, signal);
      if (listed === null || nameOf(listed) !== name) throw error;
      const txid = "minTxid" in info ? info.minTxid : info.txid;
      const missing = finding("missing", `${key}: is listed, but not there`, { key, txid });
      return { object: null, findings: [missing], pages: 0 };
    }
  }

  #belongs(object: SoundObject, claim: Claim | null, others: readonly SoundObject[]): boolean {
    const { key, lineage, pageSize, from, to } = object;
    const txid = from === null ? to.txid : from.txid + 1;
    const [other] = others;
    const expected = claim?.lineage ?? other?.lineage ?? lineage;
    if (lineage !== expected) {
      const message = `${key}: belongs to history ${lineage}, not to ${expected}`;
      this.#findings.push(finding("foreign", message, { key, txid }));
      return false;
    }
    if (other === undefined || other.pageSize === pageSize) return true;
    const message = `${key}: page size ${pageSize}, where ${other.key} has ${other.pageSize}`;
    this.#findings.push(finding("damaged", message, { key, txid, part: "header" }));
    return false;
  }

  #requireSnapshot({ snapshots }: Listing): void {
    if (snapshots.length > 0) return;
    const message = "there is no snapshot: the first one was never completed, or is gone";
    this.#findings.push(finding("no-snapshot", message, { txid: 0 }));
  }

  /** Where something was found it may well fail, and that says nothing new. */
  async #replay(replay: Replay, sound: boolean): Promise<boolean> {
    try {
      await replay(this.options.signal);
      return true;
    } catch (error) {
      if (!isDamage(error) && !(error instanceof UnsupportedFormatError)) throw error;
      if (sound) this.#findings.push(finding("restore", error.message, {}));
      return false;
    }
  }
}

function nameOf({ key, size, lastModified }: ObjectInfo): string {
  return `${key} ${size} ${lastModified}`;
}
