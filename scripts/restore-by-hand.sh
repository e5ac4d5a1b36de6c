#!/bin/sh
# restore-by-hand.sh REPLICA DATABASE: rebuilds a database from a replica's folder with zstd and sqlite3 alone.
set -eu
replica=$1 database=$2
[ ! -e "$database" ] || { echo "$database exists" >&2; exit 1; }

# The newest snapshot is the database file as it was; its name is the number of its last transaction.
for snapshot in "$replica"/snapshots/*.sqlite.zst; do :; done
zstd -d -q "$snapshot" -o "$database"
at=$(basename "$snapshot" .sqlite.zst)

# Each later segment is a WAL file: laid beside the database, SQLite recovers it and moves it in.
for segment in "$replica"/wal/0/*.wal.zst; do
  [ "$(basename "$segment" .wal.zst)" \> "$at" ] || continue
  zstd -d -q "$segment" -o "$database-wal"
  sqlite3 "$database" "PRAGMA wal_checkpoint(TRUNCATE)" >/dev/null
done
sqlite3 "$database" "PRAGMA integrity_check"
