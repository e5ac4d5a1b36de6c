import { type CORSRule, DeleteBucketCorsCommand, PutBucketCorsCommand } from "@aws-sdk/client-s3";
import { CORS_RULE } from "./cors-rule.ts";
import { rawClient } from "./server.ts";

/** Sets the bucket's CORS rule; null takes it away. */
export async function allowBrowsers(Bucket: string, rule: CORSRule | null = CORS_RULE): Promise<void> {
  const client = rawClient();
  try {
    if (rule === null) await client.send(new DeleteBucketCorsCommand({ Bucket }));
    else await client.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules: [rule] } }));
  } finally {
    client.destroy();
  }
}
