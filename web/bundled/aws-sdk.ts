// What the S3 store needs of the AWS SDK, as one chunk of ours that is loaded when an s3:// replica is first used. The build
// replaces the SDK's XML parser in it: see scripts/bundled.ts.
export {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
export { Upload } from "@aws-sdk/lib-storage";
