/**
 * The part of the AWS SDK that the S3 store uses, as types of our own: the SDK's would bring those of Node and the DOM
 * into the portable core. That they fit, the compiler checks where the SDK is loaded (node/s3-runtime.ts).
 */
export interface S3Sdk {
  readonly S3Client: new (config: S3ClientConfig) => S3Client;
  readonly Upload: new (options: S3UploadOptions) => { done(): Promise<unknown> };
  readonly PutObjectCommand: S3CommandClass<S3PutInput>;
  readonly GetObjectCommand: S3CommandClass<S3GetInput>;
  readonly HeadObjectCommand: S3CommandClass<S3ObjectInput>;
  readonly ListObjectsV2Command: S3CommandClass<S3ListInput>;
  readonly DeleteObjectsCommand: S3CommandClass<S3DeleteInput>;
  readonly DeleteObjectCommand: S3CommandClass<S3ObjectInput>;
  readonly CreateMultipartUploadCommand: S3CommandClass<S3ObjectInput>;
  readonly UploadPartCommand: S3CommandClass<S3PartInput>;
  readonly CompleteMultipartUploadCommand: S3CommandClass<S3ObjectInput & { UploadId: string }>;
  readonly AbortMultipartUploadCommand: S3CommandClass<S3ObjectInput & { UploadId: string }>;
}

/** What differs between Node and the browser. */
export interface S3Runtime {
  loadSdk(): Promise<S3Sdk>;
  /** A request body of known size that the SDK can send here; streamed where that is possible. */
  streamBody(chunks: AsyncIterable<Uint8Array>): Promise<object> | object;
  /** Whether the SDK finds credentials and region here when they are not given. */
  readonly findsSettings: boolean;
  /** Options for the SDK's request handler, beside the timeout for connecting. */
  readonly handlerOptions: { readonly cache?: "no-store" };
  /** Milliseconds without any progress after which a request has failed. */
  readonly idleTimeoutMs: number;
}

export interface S3ClientConfig {
  region?: string;
  endpoint?: string;
  forcePathStyle: boolean;
  // biome-ignore lint/suspicious/noExplicitAny: the SDK's own type, keys or provider; ours are checked in s3-config.ts.
  credentials?: any;
  maxAttempts: number;
  requestChecksumCalculation: "WHEN_REQUIRED";
  responseChecksumValidation: "WHEN_REQUIRED";
  // biome-ignore lint/suspicious/noExplicitAny: options, or the handler of another client.
  requestHandler: any;
  logger: { debug(): void; info(): void; warn(): void; error(): void };
}
export interface S3Client {
  /** `systemClockOffset`: milliseconds to add to our clock for the server's; the SDK learns it from each answer. */
  readonly config: { readonly systemClockOffset: number; readonly requestHandler: unknown };
  // biome-ignore lint/suspicious/noExplicitAny: overloads for each command; `S3Connection.send` states the output.
  send(command: any, options: { abortSignal: any }): Promise<any>;
  readonly middlewareStack: { add(middleware: S3Middleware, options: { step: "deserialize" }): void };
}
// biome-ignore lint/suspicious/noExplicitAny: generic over commands; of the result, this is what is looked at.
type S3Handler = (request: any) => Promise<any>;
export type S3Middleware = (next: S3Handler) => S3Handler;
export interface S3UploadOptions {
  // biome-ignore lint/suspicious/noExplicitAny: a client, or what stands before it.
  client: any;
  // biome-ignore lint/suspicious/noExplicitAny: its Body is a stream, whose type is Node's or the browser's.
  params: any;
  partSize: number;
  queueSize: number;
}

export type S3CommandClass<Input> = new (input: Input) => object;
export interface S3ObjectInput {
  Bucket: string;
  Key: string;
}
export interface S3PutInput extends S3ObjectInput {
  // biome-ignore lint/suspicious/noExplicitAny: bytes or a stream, whose type is Node's or the browser's.
  Body: any;
  ContentLength: number;
  IfNoneMatch?: "*";
}
export interface S3PartInput extends S3ObjectInput {
  UploadId: string;
  PartNumber: number;
}
export interface S3PartOutput {
  readonly ETag?: string;
}
export interface S3GetInput extends S3ObjectInput {
  Range?: string;
  IfMatch?: string;
}
export interface S3GetOutput {
  readonly Body?: unknown;
  readonly ContentLength?: number;
  readonly ContentRange?: string;
  readonly ETag?: string;
}
export interface S3ListInput {
  Bucket: string;
  Prefix: string;
  EncodingType: "url";
  StartAfter?: string;
  ContinuationToken?: string;
}
export interface S3ListOutput {
  readonly Contents?: readonly {
    readonly Key?: string;
    readonly Size?: number;
    readonly LastModified?: Date;
  }[];
  readonly EncodingType?: string;
  readonly IsTruncated?: boolean;
  readonly NextContinuationToken?: string;
}
export interface S3DeleteInput {
  Bucket: string;
  Delete: { Quiet: boolean; Objects: { Key: string }[] };
}
export interface S3DeleteOutput {
  readonly Errors?: readonly { readonly Key?: string; readonly Code?: string }[];
}
