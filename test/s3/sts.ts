import { createHash, randomBytes } from "node:crypto";
import type { S3Credentials } from "../../src/store/s3-config.ts";
import type { S3Server } from "./ceph.ts";
import { run } from "./children.ts";
import { Gateway } from "./gateway.ts";
import { signAgain } from "./sign.ts";

/** A gateway that gives temporary credentials, and takes them; the key is for their tokens. */
export function startStsGateway({ folder }: S3Server): Promise<Gateway> {
  const sts = ["--rgw-s3-auth-use-sts=true", "--rgw-sts-key=sluice-test-0001"];
  // See ownGateway.
  return Gateway.start(folder, [...sts, "--rgw-cache-enabled=false"]);
}

/**
 * Temporary credentials by AssumeRole: of a role that may do anything, within `policy`. The least time that Ceph and
 * Amazon give is 15 minutes.
 */
export async function assumeRole(endpoint: string, server: S3Server, policy: object): Promise<S3Credentials> {
  const role = `role-${randomBytes(6).toString("hex")}`;
  const trust = {
    Version: "2012-10-17",
    Statement: [
      { Effect: "Allow", Principal: { AWS: ["arn:aws:iam:::user/test"] }, Action: ["sts:AssumeRole"] },
    ],
  };
  const anything = {
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "s3:*", Resource: "arn:aws:s3:::*" }],
  };
  const administer = (...args: string[]) =>
    run(server.folder, "radosgw-admin", "-n", "client.rgw", ...args, `--role-name=${role}`);
  await administer("role", "create", `--assume-role-policy-doc=${JSON.stringify(trust)}`);
  await administer("role-policy", "put", "--policy-name=all", `--policy-doc=${JSON.stringify(anything)}`);
  const answer = await ask(endpoint, server, {
    Action: "AssumeRole",
    Version: "2011-06-15",
    RoleArn: `arn:aws:iam:::role/${role}`,
    RoleSessionName: "sluice",
    DurationSeconds: "900",
    Policy: JSON.stringify(policy),
  });
  const field = (name: string): string => {
    const value = new RegExp(`<${name}>([^<]+)</${name}>`).exec(answer)?.[1];
    if (value === undefined) throw new Error(`no ${name} in ${answer}`);
    return value;
  };
  return {
    accessKeyId: field("AccessKeyId"),
    secretAccessKey: field("SecretAccessKey"),
    sessionToken: field("SessionToken"),
    expiration: new Date(field("Expiration")),
  };
}

async function ask(endpoint: string, server: S3Server, parameters: Record<string, string>): Promise<string> {
  const body = new URLSearchParams(parameters).toString();
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const scope = `${date.slice(0, 8)}/${server.region}/sts/aws4_request`;
  const headers: Record<string, string> = {
    host: new URL(endpoint).host,
    "content-type": "application/x-www-form-urlencoded",
    "x-amz-content-sha256": createHash("sha256").update(body).digest("hex"),
    "x-amz-date": date,
    authorization:
      `AWS4-HMAC-SHA256 Credential=${server.accessKeyId}/${scope}, ` +
      "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date, Signature=",
  };
  signAgain("POST", "/", headers, server.secretAccessKey);
  const response = await fetch(`${endpoint}/`, { method: "POST", headers, body });
  const text = await response.text();
  if (!response.ok) throw new Error(`AssumeRole: HTTP ${response.status} ${text}`);
  return text;
}
