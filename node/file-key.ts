/** Device and inode: two names of one file are one key, and two files that bore one name after each other are two. */
export function fileKey(stat: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${stat.dev}:${stat.ino}`;
}
