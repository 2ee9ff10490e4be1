/**
 * The audit log: a line of JSON for each connection that was denied, opened, failed and closed. docs/audit.md says what is in it.
 *
 * @module
 */

import type { Admission } from "../circuit/admission.ts";
import type { Outcome } from "../circuit/circuit.ts";
import type { RecordedCircuit, Recorder } from "../circuit/recorder.ts";
import { errnoName } from "../errno.ts";
import type { Endpoint } from "../net/address.ts";
import { appendTo, LineFile, type Sink } from "./line_file.ts";

/** What else is known of a VM. */
export interface VmLabels {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Tells what else is known of a VM. */
export type Identify = (vm: string) => VmLabels | undefined;

/**
 * Records connections in a file.
 *
 * @example
 * ```ts ignore
 * await using audit = AuditLog.open("/var/log/csvn/audit.jsonl", () => undefined);
 * await using csvn = await Switch.start({ sockets: ["/run/csvn.sock"], recorder: audit });
 * ```
 */
export class AuditLog implements Recorder, AsyncDisposable {
  readonly #file: LineFile;

  /** @param open Opens what the lines go to. @param limit Characters that may wait to be written. */
  constructor(open: () => Sink, readonly identify: Identify, limit?: number) {
    const lost = (count: number): string => JSON.stringify({ time: now(), event: "lost", records: count });
    this.#file = new LineFile(open, lost, limit);
  }

  /** An audit log in a file. @throws {SystemError} */
  static open(path: string, identify: Identify): AuditLog {
    return new AuditLog(() => appendTo(path), identify);
  }

  /** Open the file anew, after it was moved away. @throws {SystemError} The old one is written on, then. */
  reopen(): void {
    this.#file.reopen();
  }

  denied(admission: Admission, errno: number): void {
    const event = admission.current.allow ? "would-deny" : "denied";
    this.#write(event, admission, undefined, errno === 0 ? {} : { errno: errnoName(errno) });
  }

  suppressed(who: string, count: number): void {
    this.#file.write(JSON.stringify({ time: now(), event: "suppressed", who, suppressed: count }));
  }

  opened(admission: Admission, circuit: RecordedCircuit): void {
    this.#write("opened", admission, circuit, {});
  }

  failed(admission: Admission, errno: number): void {
    this.#write("failed", admission, undefined, { errno: errnoName(errno) });
  }

  closed(admission: Admission, circuit: RecordedCircuit, { sent, received, seconds, why }: Outcome): void {
    this.#write("closed", admission, circuit, {
      why,
      ...(why === "policy" && { cut: true }),
      ...(sent !== undefined && { sentBytes: Number(sent) }),
      ...(received !== undefined && { receivedBytes: Number(received) }),
      seconds,
    });
  }

  /** Write what is left, and close the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file[Symbol.asyncDispose]();
  }

  #write(event: string, admission: Admission, circuit: RecordedCircuit | undefined, more: object): void {
    const { attempt, current: { reason, revision, names, details } } = admission;
    this.#file.write(JSON.stringify({
      // First, so that it can hide nothing.
      ...details,
      time: now(),
      event,
      ...(circuit && { circuit: circuit.number }),
      protocol: attempt.protocol,
      from: this.#end(attempt.from, attempt.source),
      to: this.#end(attempt.to, attempt.destination),
      way: attempt.from === "host" || attempt.to === "host" ? "host" : "direct",
      reason,
      ...(revision !== undefined && { revision }),
      ...(names && { names }),
      ...more,
    }));
  }

  #end(vm: string, { address, port }: Endpoint): object {
    return { ...(vm !== "host" && { vm, ...this.identify(vm) }), address: address.text, port };
  }
}

function now(): string {
  return new Date().toISOString();
}
