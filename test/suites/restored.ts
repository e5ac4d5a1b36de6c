import type { RestorePoint } from "../../src/choose-plan.ts";
import type { RestoreSource } from "../../src/restore.ts";
import { writeState } from "../../src/write-state.ts";

/** Bytes of the largest database that tests restore so. */
const MAX_BYTES = 1 << 21;

/** What a restore writes, by Sluice's own plan, and how many objects it opens. */
export async function restored(
  source: RestoreSource,
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
  const written = await writeState(source, point, openTarget, ({ totalObjects }) => {
    objects = totalObjects;
  });
  const { pageCount, pageSize } = written!.state;
  return { file: file.slice(0, pageCount * pageSize), objects };
}
