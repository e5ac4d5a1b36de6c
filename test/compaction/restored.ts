import type { RestorePoint } from "../../src/choose-plan.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { writeState } from "../../src/write-state.ts";
import { codecs, lineage } from "../format/objects.ts";

const MAX_BYTES = 1 << 16;

/** What a restore writes, by Sluice's own plan, and how many objects it opens. */
export async function restored(
  store: ObjectStore,
  point: RestorePoint,
): Promise<{ file: Uint8Array; objects: number }> {
  let file = new Uint8Array();
  const openTarget = () => {
    file = new Uint8Array(MAX_BYTES);
    return {
      path: "",
      old: null,
      write: (bytes: Uint8Array, offset: number) => void file.set(bytes, offset),
      finish: async () => {},
      abort: async () => {},
    };
  };
  let objects = 0;
  const written = await writeState({ store, lineage, codecs }, point, openTarget, ({ totalObjects }) => {
    objects = totalObjects;
  });
  const { pageCount, pageSize } = written!.state;
  return { file: file.slice(0, pageCount * pageSize), objects };
}
