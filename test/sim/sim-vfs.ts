import type { Sqlite3Static, sqlite3_io_methods, sqlite3_vfs } from "@sqlite.org/sqlite-wasm";
import { Inode } from "./disk.ts";
import type { Instance } from "./instance.ts";
import type { Machine } from "./machine.ts";

export const SIM_VFS = "sim";

const UNIX_EPOCH = 210866760000000n;
const [NONE, SHARED, RESERVED, PENDING, EXCLUSIVE] = [0, 1, 2, 3, 4];

/** A file that SQLite has open. */
interface OpenFile {
  readonly path: string | null;
  readonly inode: Inode;
  readonly deleteOnClose: boolean;
  lock: number;
}

type Methods<T> = { [K in keyof T as K extends `x${string}` ? K : never]?: T[K] };

/**
 * Registers the base VFS of a simulated machine, as the default one, so that SQLite's own random numbers come from it too.
 * Each call is an operation at which the process may end.
 */
export function installSimVfs(instance: Instance): void {
  const { sqlite3 } = instance;
  const { capi, wasm } = sqlite3;
  const io = new capi.sqlite3_io_methods();
  (io as unknown as { $iVersion: number }).$iVersion = 1;
  const vfs = new capi.sqlite3_vfs();
  vfs.$iVersion = 2;
  vfs.$szOsFile = 8;
  vfs.$mxPathname = 255;
  vfs.$zName = wasm.allocCString(SIM_VFS, false);
  sqlite3.vfs.installVfs({
    io: { struct: io, methods: ioMethods(instance) as unknown as Methods<sqlite3_io_methods> },
    vfs: {
      struct: vfs,
      methods: vfsMethods(instance, io.pointer!) as unknown as Methods<sqlite3_vfs>,
      asDefault: true,
    },
  });
}

function vfsMethods(instance: Instance, pIoMethods: number) {
  const { sqlite3 } = instance;
  const { capi, wasm } = sqlite3;
  const machine = () => instance.machine;
  return {
    xOpen(_vfs: number, zName: number, pFile: number, flags: number, pOutFlags: number): number {
      const path = zName === 0 ? null : wasm.cstrToJs(zName)!;
      words(sqlite3)[pFile >> 2] = 0;
      machine().life.operation(`open ${path}`);
      const inode =
        path === null ? new Inode(false) : findOrCreate(machine(), path, flags, capi.SQLITE_OPEN_CREATE);
      if (inode === null) return capi.SQLITE_CANTOPEN;
      const deleteOnClose = (flags & capi.SQLITE_OPEN_DELETEONCLOSE) !== 0;
      let handle = instance.files.indexOf(null);
      if (handle < 0) handle = instance.files.length;
      instance.files[handle] = { path, inode, deleteOnClose, lock: NONE! };
      words(sqlite3)[(pFile >> 2) + 1] = handle;
      words(sqlite3)[pFile >> 2] = pIoMethods;
      if (pOutFlags) words(sqlite3)[pOutFlags >> 2] = flags;
      return 0;
    },
    xDelete(_vfs: number, zName: number, syncFolder: number): number {
      const path = wasm.cstrToJs(zName)!;
      machine().life.operation(`delete ${path}`);
      if (machine().disk.find(path) === undefined) return capi.SQLITE_IOERR_DELETE_NOENT;
      machine().watch.walGoes(path, 0);
      machine().disk.remove(path);
      if (syncFolder & 1) machine().disk.syncFolder();
      return 0;
    },
    xAccess(_vfs: number, zName: number, _flags: number, pOut: number): number {
      const inode = machine().disk.find(wasm.cstrToJs(zName)!);
      words(sqlite3)[pOut >> 2] = inode !== undefined && inode.size > 0 ? 1 : 0;
      return 0;
    },
    xFullPathname(_vfs: number, zName: number, nOut: number, zOut: number): number {
      const bytes = new TextEncoder().encode(`${wasm.cstrToJs(zName)}\0`);
      if (bytes.length > nOut) return capi.SQLITE_CANTOPEN;
      wasm.heap8u().set(bytes, zOut);
      return 0;
    },
    xRandomness(_vfs: number, n: number, pOut: number): number {
      wasm.heap8u().set(machine().world.random.bytes(n), pOut);
      return n;
    },
    xSleep: (_vfs: number, microseconds: number) => microseconds,
    xCurrentTimeInt64(_vfs: number, pOut: number): number {
      wasm.poke64(pOut, UNIX_EPOCH + BigInt(Math.floor(machine().world.time)));
      return 0;
    },
    xGetLastError: () => 0,
  };
}

function findOrCreate(machine: Machine, path: string, flags: number, create: number): Inode | null {
  return machine.disk.find(path) ?? (flags & create ? machine.disk.create(path) : null);
}

function ioMethods(instance: Instance) {
  const { sqlite3 } = instance;
  const { capi, wasm } = sqlite3;
  const fileOf = (pFile: number) => instance.files[words(sqlite3)[(pFile >> 2) + 1]!]!;
  const machine = () => instance.machine;
  const operation = (what: string, { path }: OpenFile, more: string) => {
    if (path !== null) machine().life.operation(`${what} ${path} ${more}`);
  };
  return {
    xClose(pFile: number): number {
      const handle = words(sqlite3)[(pFile >> 2) + 1]!;
      const file = instance.files[handle]!;
      instance.files[handle] = null;
      if (file.deleteOnClose && file.path !== null) machine().disk.remove(file.path);
      return 0;
    },
    xRead(pFile: number, pTo: number, n: number, offset: bigint): number {
      const { inode } = fileOf(pFile);
      const whole = inode.read(wasm.heap8u().subarray(pTo, pTo + n), Number(offset));
      return whole ? 0 : capi.SQLITE_IOERR_SHORT_READ;
    },
    xWrite(pFile: number, pFrom: number, n: number, offset: bigint): number {
      const file = fileOf(pFile);
      operation("write", file, `${offset}+${n}`);
      const { disk, watch } = machine();
      if (file.path !== null && disk.full && Number(offset) + n > file.inode.size) return capi.SQLITE_FULL;
      if (file.path !== null && offset === 0n) watch.walGoes(file.path, 0);
      file.inode.write(wasm.heap8u().subarray(pFrom, pFrom + n), Number(offset));
      return 0;
    },
    xTruncate(pFile: number, size: bigint): number {
      const file = fileOf(pFile);
      operation("truncate", file, `${size}`);
      if (file.path !== null) machine().watch.walGoes(file.path, Number(size));
      file.inode.truncate(Number(size));
      return 0;
    },
    xSync(pFile: number): number {
      const file = fileOf(pFile);
      operation("sync", file, "");
      if (file.path === null) return 0;
      file.inode.sync();
      // As SQLite's unix VFS does with the first sync of a file that it made.
      if (!file.inode.entered) machine().disk.syncFolder();
      file.inode.entered = true;
      machine().watch.synced();
      return 0;
    },
    xFileSize(pFile: number, pOut: number): number {
      wasm.poke64(pOut, BigInt(fileOf(pFile).inode.size));
      return 0;
    },
    xLock: (pFile: number, level: number) => lock(instance, fileOf(pFile), level, capi.SQLITE_BUSY),
    xUnlock(pFile: number, level: number): number {
      fileOf(pFile).lock = Math.min(level, fileOf(pFile).lock);
      return 0;
    },
    xCheckReservedLock(pFile: number, pOut: number): number {
      words(sqlite3)[pOut >> 2] = others(instance, fileOf(pFile)).some((level) => level >= RESERVED!) ? 1 : 0;
      return 0;
    },
    xFileControl: () => capi.SQLITE_NOTFOUND,
    xSectorSize: () => 4096,
    xDeviceCharacteristics: () => 0,
  };
}

/** https://www.sqlite.org/lockingv3.html, among the connections of one process. */
function lock(instance: Instance, file: OpenFile, level: number, busy: number): number {
  if (level <= file.lock) return 0;
  const highest = Math.max(NONE!, ...others(instance, file));
  if (level === SHARED && highest >= PENDING!) return busy;
  if (level === RESERVED && highest >= RESERVED!) return busy;
  if (level === EXCLUSIVE) {
    if (highest >= RESERVED!) return busy;
    file.lock = PENDING!;
    if (highest >= SHARED!) return busy;
  }
  file.lock = level;
  return 0;
}

function others(instance: Instance, file: OpenFile): number[] {
  return instance.files.flatMap((each) =>
    each !== null && each !== file && each.inode === file.inode ? [each.lock] : [],
  );
}

export type { OpenFile };

function words(sqlite3: Sqlite3Static): Int32Array {
  return sqlite3.wasm.heap32();
}
