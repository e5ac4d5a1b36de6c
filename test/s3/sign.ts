import { createHash, createHmac } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

/**
 * Signs a request anew whose headers were changed on the way (AWS Signature Version 4). Headers that are gone leave
 * the list of those signed.
 */
export function signAgain(method: string, url: string, headers: IncomingHttpHeaders, secret: string): void {
  const parts = /Credential=([^/]+)\/([^,]+), ?SignedHeaders=([^,]+)/.exec(headers.authorization ?? "");
  if (parts === null) return;
  const [, keyId, scope = "", names = ""] = parts;
  const signed = names.split(";").filter((name) => headers[name] !== undefined);
  const [path = "", query = ""] = url.split("?");
  const canonical = [
    method,
    path,
    query
      .split("&")
      .filter((parameter) => parameter !== "")
      .map((parameter) => (parameter.includes("=") ? parameter : `${parameter}=`))
      .sort()
      .join("&"),
    ...signed.map((name) => `${name}:${String(headers[name]).trim().replace(/ +/g, " ")}`),
    "",
    signed.join(";"),
    headers["x-amz-content-sha256"],
  ].join("\n");
  const hash = createHash("sha256").update(canonical).digest("hex");
  const text = ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hash].join("\n");
  const hmac = (key: string | Buffer, data: string) => createHmac("sha256", key).update(data).digest();
  const key = scope.split("/").reduce<string | Buffer>(hmac, `AWS4${secret}`);
  headers.authorization =
    `AWS4-HMAC-SHA256 Credential=${keyId}/${scope}, SignedHeaders=${signed.join(";")}, ` +
    `Signature=${hmac(key, text).toString("hex")}`;
}
