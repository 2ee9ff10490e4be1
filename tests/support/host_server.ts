/**
 * TCP servers on the host, on loopback addresses of the tests' own.
 *
 * @module
 */

/** A TCP server that hands its connections to a function. */
export function serveTcp(
  hostname: string,
  handle: (connection: Deno.TcpConn) => Promise<void>,
): { port: number } & AsyncDisposable {
  const listener = Deno.listen({ hostname, port: 0 });
  const running: Promise<void>[] = [];
  const loop = (async () => {
    for await (const connection of listener) running.push(handle(connection));
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose](): Promise<void> {
      listener.close();
      await loop.catch(() => {});
      await Promise.all(running);
    },
  };
}
