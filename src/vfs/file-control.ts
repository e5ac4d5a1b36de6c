import { type Abi, type Pointer, type ResultCode, SQLITE_ERROR, SQLITE_OK } from "./abi.ts";
import type { ShimDatabase } from "./shim-database.ts";

// https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html
const SQLITE_FCNTL_PERSIST_WAL = 10;
const SQLITE_FCNTL_PRAGMA = 14;
/** Sent when a checkpoint has written its pages, before it syncs them, if it does. */
const SQLITE_FCNTL_CKPT_DONE = 37;

/** Our answer to a file control of a replicated database's main file; undefined: the base's to answer. */
export function answerFileControl(
  abi: Abi,
  database: ShimDatabase,
  op: number,
  arg: Pointer,
): ResultCode | undefined {
  if (database.capture === null) return undefined;
  if (op === SQLITE_FCNTL_PERSIST_WAL) {
    abi.poke32(arg, 1);
    return SQLITE_OK;
  }
  if (op === SQLITE_FCNTL_CKPT_DONE) database.mainDirty = true;
  if (op !== SQLITE_FCNTL_PRAGMA) return undefined;
  // arg is char*[3]: the answer, the pragma's name, its value or NULL.
  if (!mayBeOurs(abi, abi.peek32(arg + 4))) return undefined;
  const name = abi.string(abi.peek32(arg + 4)).toLowerCase();
  const value = abi.peek32(arg + 8) === 0 ? null : abi.string(abi.peek32(arg + 8)).toLowerCase();
  const answer = answerPragma(database, name, value);
  if (answer === undefined) return undefined;
  abi.poke32(arg, abi.cstring(answer.text)); // SQLite frees it
  return answer.code;
}

/** By the first letter alone: SQLite 3.54 asks about a pragma of its own with every write transaction. */
function mayBeOurs(abi: Abi, name: Pointer): boolean {
  return "jJlLsSwW".includes(String.fromCharCode(abi.bytes[name]!));
}

function answerPragma(
  database: ShimDatabase,
  name: string,
  value: string | null,
): { code: ResultCode; text: string } | undefined {
  switch (name) {
    case "sluice_txid":
      return { code: SQLITE_OK, text: String(database.capture!.captured.txid) };
    case "sluice_status":
      return { code: SQLITE_OK, text: database.policy!.statusLine() };
    case "wal_checkpoint":
      database.checkpointAsked = true;
      return undefined;
    case "journal_mode":
      if (value === null || value === "wal") return undefined;
      return refuse("a replicated database stays in WAL mode; call detach() to leave it");
    case "locking_mode":
      if (value !== "exclusive") return undefined;
      return refuse("a replicated database cannot use locking_mode=exclusive; its lock is exclusive already");
    default:
      return undefined;
  }
}

function refuse(text: string): { code: ResultCode; text: string } {
  return { code: SQLITE_ERROR, text: `sluice: ${text}` };
}
