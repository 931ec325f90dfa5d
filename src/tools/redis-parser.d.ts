/** What is used of redis-parser 3, which comes without types. */
declare module "redis-parser" {
  interface Options {
    readonly returnBuffers: boolean;
    returnReply(reply: Buffer[]): void;
    returnError(error: Error): void;
    /** Bytes that are no reply. */
    returnFatalError?(error: Error): void;
  }

  // biome-ignore lint/style/noDefaultExport: the package's own form.
  export default class RedisParser {
    constructor(options: Options);
    execute(bytes: Buffer): void;
  }
}
