/**
 * A switch for a test: its socket in a directory of its own, its log kept.
 *
 * @module
 */

import { configure, type LogRecord } from "@logtape/logtape";
import { Switch, type SwitchOptions } from "../../src/host/switch.ts";

/** A switch, its socket and its log. */
export interface TestSwitch extends AsyncDisposable {
  readonly csvn: Switch;
  /** Path of the socket for any number of VMs. */
  readonly socket: string;
  readonly directory: string;
  /** The log's lines. */
  readonly log: string[];
}

/** Start one. */
export async function startTestSwitch(options: Omit<SwitchOptions, "sockets"> = {}): Promise<TestSwitch> {
  const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
  const log: string[] = [];
  await configure({
    reset: true,
    sinks: { list: (record: LogRecord) => void log.push(record.message.map(String).join("")) },
    loggers: [
      { category: ["csvn"], lowestLevel: "debug", sinks: ["list"] },
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["list"] },
    ],
  });
  const socket = `${directory}/csvn.sock`;
  const csvn = await Switch.start({
    sockets: [socket],
    outside: false, // nothing of a test leaves this machine
    resolvers: [],
    ...options,
    vms: (options.vms ?? []).map((vm) => ({ ...vm, socket: vm.socket.replace(/^\./, directory) })),
  });
  return {
    csvn,
    socket,
    directory,
    log,
    async [Symbol.asyncDispose](): Promise<void> {
      await csvn[Symbol.asyncDispose]();
      await Deno.remove(directory, { recursive: true });
    },
  };
}
