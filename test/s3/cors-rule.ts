/** What README.md tells users to set, and no more. */
export const CORS_RULE = {
  AllowedOrigins: ["*"],
  AllowedMethods: ["GET", "HEAD", "PUT", "POST", "DELETE"],
  AllowedHeaders: ["*"],
  ExposeHeaders: ["ETag", "Content-Range", "Date", "Retry-After"],
};
