#!/bin/sh
# restore-by-hand.sh REPLICA DATABASE: rebuilds a database from a replica's folder with zstd and sqlite3 alone.
set -eu
replica=$1 database=$2
[ ! -e "$database" ] || { echo "$database exists" >&2; exit 1; }

# The newest snapshot is the database file as it was; its name is the number of its last transaction.
for snapshot in "$replica"/snapshots/*.sqlite.zst; do :; done
zstd -d -q "$snapshot" -o "$database"
last=$(printf '%d' "0x$(basename "$snapshot" .sqlite.zst)")

# Each segment that goes on from there is a WAL file: laid beside the database, SQLite recovers it and moves it in.
while :; do
  first=$(printf '%016x' $((last + 1)))
  # The longest: of the highest level. Where it ends its name says, or at level 0 its header.
  segment=
  for candidate in "$replica"/wal/[3210]/"$first"[-.]*; do [ -e "$candidate" ] && segment=$candidate; done
  [ -n "$segment" ] || break
  last=$(head -c 600 "$segment" | grep -ao '"to":{"txid":[0-9]*' | head -n 1 | grep -o '[0-9]*$')
  zstd -d -q "$segment" -o "$database-wal"
  sqlite3 "$database" "PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
done
sqlite3 "$database" "PRAGMA integrity_check"
