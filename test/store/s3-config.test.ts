import { describe, expect, test } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { checkS3Config, formatS3Url, parseS3Url, type S3StoreConfig } from "../../src/store/s3-config.ts";

describe("an s3:// URL", () => {
  test("says bucket, prefix and how to get there", () => {
    expect(parseS3Url("s3://bucket")).toEqual({ bucket: "bucket" });
    expect(parseS3Url("s3://bucket/")).toEqual({ bucket: "bucket" });
    expect(
      parseS3Url("s3://bucket/a%20b/c/?region=auto&endpoint=https://host:9000&forcePathStyle=false"),
    ).toEqual({
      bucket: "bucket",
      prefix: "a b/c/",
      region: "auto",
      endpoint: "https://host:9000",
      forcePathStyle: false,
    });
  });

  test("is what a store says of itself", () => {
    for (const url of [
      "s3://bucket/a%20b/c/",
      "s3://bucket/",
      "s3://b.c/p/?endpoint=http://127.0.0.1:9000&region=us-east-1",
      "s3://arn:aws:s3:eu-west-1:111122223333:accesspoint/app/a/b/",
      "s3://arn:aws:s3:eu-west-1:111122223333:accesspoint:app/a/b/",
    ]) {
      expect(formatS3Url(checkS3Config(parseS3Url(url)))).toBe(url);
    }
  });

  test("may name an access point by its ARN", () => {
    const arn = "arn:aws:s3:eu-west-1:111122223333:accesspoint/app";
    expect(parseS3Url(`s3://${arn}/a/?region=eu-west-1`)).toEqual({
      bucket: arn,
      prefix: "a/",
      region: "eu-west-1",
    });
  });

  test.each([
    ["secretAccessKey", "s3://bucket/?secretAccessKey=hush"],
    ["accessKeyId", "s3://bucket/?accessKeyId=hush"],
    ["X-Amz-Signature", "s3://bucket/?X-Amz-Signature=hush"],
    ["sessionToken", "s3://bucket/?region=x&sessionToken=hush"],
    ["replica", "s3://hush:hush@bucket/"],
    ["replica", "s3://hush:hush"],
    ["bucket", "s3://buc^ket/"],
    ["endpoint", "s3://bucket/?endpoint=https://user:hush@host"],
    ["endpoint", "s3://bucket/?endpoint=https://host/?token%3Dhush"],
    ["endpoint", "s3://bucket/?endpoint=host:9000"],
    ["Region", "s3://bucket/?Region=x"],
    ["region", "s3://bucket/?region=a&region=b"],
    ["region", "s3://bucket/?region="],
    ["forcePathStyle", "s3://bucket/?forcePathStyle=yes"],
    ["replica", "s3:///prefix"],
    ["replica", "https://bucket/prefix"],
    ["replica", "s3://bucket/%ff"],
    ["prefix", "s3://bucket/a//b"],
    ["prefix", "s3://bucket/a/../b"],
    ["bucket", "s3://ab/x"],
  ])("is refused for %s: %s", (field, url) => {
    expectConfigError(() => parseS3Url(url), field);
  });
});

test.each([
  ["bukket", { bucket: "bucket", bukket: 1 }],
  ["bucket", { bucket: "" }],
  ["credentials", { bucket: "bucket", credentials: "hush" }],
  ["credentials.secretAccessKey", { bucket: "bucket", credentials: { accessKeyId: "hush" } }],
  ["forcePathStyle", { bucket: "bucket", forcePathStyle: "yes" }],
])("a configuration wrong in %s is refused", (field, config) => {
  expectConfigError(() => checkS3Config(config as unknown as S3StoreConfig), field);
});

/** Names the field, and tells nothing of what could be a secret. */
function expectConfigError(call: () => unknown, field: string): void {
  let thrown: unknown;
  try {
    call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(ConfigError);
  expect(thrown).toMatchObject({ field });
  expect(String(thrown)).not.toContain("hush");
}
