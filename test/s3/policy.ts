/** What README.md says is the least for a writer; with deleting, or without. */
export function leastPolicy(bucket: string, prefix: string, deleting: boolean): object {
  const objects = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"];
  return {
    Version: "2012-10-17",
    Statement: [
      {
        Effect: "Allow",
        Action: "s3:ListBucket",
        Resource: `arn:aws:s3:::${bucket}`,
        // Amazon and Ceph since 2026: StringLike.
        Condition: { StringLikeIfExists: { "s3:prefix": `${prefix}*` } },
      },
      {
        Effect: "Allow",
        Action: deleting ? [...objects, "s3:DeleteObject"] : objects,
        Resource: `arn:aws:s3:::${bucket}/${prefix}*`,
      },
    ],
  };
}
