/** The bytes of a file as a data: URL, which Vite makes. */
declare module "*?url&inline" {
  const url: string;
  export default url;
}
