import sqlite3InitModule, { type Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { Machine } from "./machine.ts";
import { installSimVfs, type OpenFile } from "./sim-vfs.ts";

type Callable = (...args: unknown[]) => unknown;

interface Wasm {
  memory: WebAssembly.Memory;
  exports: Record<string, Callable>;
  installFunction(signature: string, method: Callable): number;
}

/**
 * SQLite in WebAssembly, which many processes after one another run in: a new one gets the memory as it was before the
 * first, and the stack of calls that a crash left behind is forgotten. That costs a hundredth of another instantiation.
 */
export class Instance {
  readonly files: (OpenFile | null)[] = [];
  machine!: Machine;
  readonly #pristine: Uint8Array;
  readonly #stack: unknown;
  readonly #slots = new Map<string, Slot[]>();

  static async create(): Promise<Instance> {
    const sqlite3 = await sqlite3InitModule();
    const config = sqlite3.config as unknown as Record<string, () => void>;
    for (const level of ["warn", "error", "log", "debug"]) config[level] = () => undefined;
    return new Instance(sqlite3);
  }

  private constructor(readonly sqlite3: Sqlite3Static) {
    installSimVfs(this);
    (sqlite3.capi as unknown as Record<string, Callable>).sqlite3_randomness!(0, 0);
    const bytes = sqlite3.wasm.heap8u();
    this.#pristine = bytes.slice(0, bytes.findLastIndex((byte) => byte !== 0) + 1);
    this.#stack = this.#wasm.exports.emscripten_stack_get_current!();
  }

  get #wasm(): Wasm {
    return this.sqlite3.wasm as unknown as Wasm;
  }

  /** The module as a new process of the machine finds it. */
  begin(machine: Machine): Sqlite3Static {
    this.machine = machine;
    this.files.length = 0;
    const bytes = new Uint8Array(this.#wasm.memory.buffer);
    bytes.set(this.#pristine);
    bytes.fill(0, this.#pristine.length, endOf(bytes));
    this.#wasm.exports._emscripten_stack_restore!(this.#stack);
    return this.#facade();
  }

  /** Another object for each process, since the core keeps a shim for each module; function pointers are used again. */
  #facade(): Sqlite3Static {
    const used = new Map<string, number>();
    const wasm: Wasm = Object.create(this.#wasm);
    wasm.installFunction = (signature, method) => {
      const slots = this.#slots.get(signature) ?? [];
      this.#slots.set(signature, slots);
      const at = used.get(signature) ?? 0;
      used.set(signature, at + 1);
      slots[at] ??= new Slot(this.#wasm, signature);
      slots[at].method = method;
      return slots[at].pointer;
    };
    return Object.create(this.sqlite3, { wasm: { value: wasm } });
  }
}

const PIECE = 1 << 16;
const ZEROS = new Uint8Array(PIECE);

/** Behind which all is zeros. To look is much cheaper than to write, since what nobody has written has no memory yet. */
function endOf(bytes: Uint8Array): number {
  let end = bytes.length;
  while (end > 0 && Buffer.compare(ZEROS, bytes.subarray(end - PIECE, end)) === 0) end -= PIECE;
  return end;
}

class Slot {
  method: Callable = () => undefined;
  readonly pointer: number;

  constructor(wasm: Wasm, signature: string) {
    this.pointer = wasm.installFunction(signature, (...args) => this.method(...args));
  }
}
