/**
 * The flows of a datagram circuit to the host's stack: with whom its socket may exchange datagrams. A flow is one admission: of a
 * destination that the guest asked for, or at a published port of a source from which datagrams came.
 *
 * Theory of operation. The data plane keeps a rule for each flow, also for those that are denied, so that nothing is asked twice. When policy
 * changes its mind about a flow, the rule changes, and the guest does nothing. A flow that policy has cut stays for as long as the circuit does.
 *
 * @module
 */

import { Errno, SystemError } from "../errno.ts";
import type { Endpoint } from "../net/address.ts";
import { type Admission, denialErrno } from "./admission.ts";
import type { Circuit, EndReason } from "./circuit.ts";
import type { HostDatagram } from "./host.ts";
import type { Limits } from "./limits.ts";
import type { Recorder } from "./recorder.ts";
import type { Vm } from "./vm.ts";

/** With whom, and what policy says of it. */
export interface Flow {
  readonly admission: Admission;
  /** As the guest calls it. */
  readonly guest: Endpoint;
  /** As the host's stack does. */
  readonly actual: Endpoint;
  /** When it was let in last; milliseconds since the epoch. */
  since: number;
}

/** All flows of one circuit. */
export class Flows {
  readonly #flows = new Map<string, Flow>();

  /** @param vm Whose circuit it is. */
  constructor(
    readonly circuit: Circuit,
    readonly vm: Vm,
    readonly host: HostDatagram,
    readonly recorder: Recorder,
    readonly limits: Limits,
  ) {}

  /** All of them, those that are denied too. */
  get all(): Iterable<Flow> {
    return this.#flows.values();
  }

  /** How many there are. */
  get size(): number {
    return this.#flows.size;
  }

  /** Is there no room for one more? The first has room always, so that nobody's other sockets keep one from being of any use. */
  get full(): boolean {
    const { maxFlows, maxVmFlows } = this.limits;
    return this.size >= maxFlows || (this.size > 0 && this.vm.flows >= maxVmFlows);
  }

  /** Do as an admission says. @throws {SystemError} ENOBUFS when there are too many, of this circuit or of the VM. */
  set(admission: Admission, guest: Endpoint, actual: Endpoint): void {
    const key = `${guest.address.text} ${guest.port}`;
    const flow = { admission, guest, actual, since: Date.now() };
    const known = this.#flows.get(key);
    if (!known && this.full) throw new SystemError("let datagrams pass to one more address", Errno.ENOBUFS);
    this.#rule(flow);
    this.#flows.set(key, flow);
    if (!known) this.vm.flows++;
    if (known?.admission.current.allow) this.#end(known, "closed");
    if (admission.current.allow) this.recorder.opened(admission, this.circuit);
  }

  /** Forget the oldest flow, to make room. */
  forgetOldest(): void {
    for (const [key, flow] of this.#flows) {
      this.#flows.delete(key);
      this.vm.flows--;
      if (flow.admission.current.allow) this.#end(flow, "closed");
      this.host.forget(flow.guest);
      return;
    }
  }

  /** Policy has changed its mind about a flow. */
  revised(flow: Flow): void {
    this.#rule(flow);
    if (!flow.admission.current.allow) return this.#end(flow, "policy");
    flow.since = Date.now();
    this.recorder.opened(flow.admission, this.circuit);
  }

  /** The circuit is over. */
  close(why: EndReason): void {
    for (const flow of this.#flows.values()) if (flow.admission.current.allow) this.#end(flow, why);
    this.vm.flows -= this.#flows.size;
    this.#flows.clear();
  }

  #rule({ admission: { current }, guest, actual }: Flow): void {
    this.host.permit(guest, actual, current.allow, current.allow ? 0 : denialErrno(current));
  }

  #end({ admission, guest, since }: Flow, why: EndReason): void {
    const { sent, received } = this.host.moved(guest);
    // The guest sent what the host's end received. At a published port the outside is who connects.
    const [there, back] = admission.attempt.from === "host" ? [sent, received] : [received, sent];
    this.recorder.closed(admission, this.circuit, {
      sent: there,
      received: back,
      seconds: (Date.now() - since) / 1000,
      why,
    });
  }
}
