/**
 * The flows of a datagram circuit to the host's stack: with whom its socket may exchange datagrams. A flow is one admission: of a
 * destination that the guest asked for, or at a published port of a source from which datagrams came.
 *
 * Theory of operation. The data plane keeps a rule for each flow, also for those that are denied, so that nothing is asked twice. When policy
 * changes its mind about a flow, the rule changes, and the guest does nothing. A flow that policy has cut stays for as long as the circuit does.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import type { Endpoint } from "../net/address.ts";
import { type Admission, denialErrno } from "./admission.ts";
import type { Circuit, EndReason } from "./circuit.ts";
import type { HostDatagram } from "./host.ts";
import type { Recorder } from "./recorder.ts";

/** With whom, and what policy says of it. */
export interface Flow {
  readonly admission: Admission;
  /** As the guest calls it. */
  readonly guest: Endpoint;
  /** As the host's stack does. */
  readonly actual: Endpoint;
  /** When it was let in last, by the clock. */
  since: number;
}

/** All flows of one circuit. */
export class Flows {
  readonly #flows = new Map<string, Flow>();

  constructor(
    readonly circuit: Circuit,
    readonly host: HostDatagram,
    readonly recorder: Recorder,
    readonly clock: Clock,
  ) {}

  /** All of them, those that are denied too. */
  get all(): Iterable<Flow> {
    return this.#flows.values();
  }

  /** How many there are. */
  get size(): number {
    return this.#flows.size;
  }

  /** Do as an admission says. @throws {SystemError} ENOBUFS when there are too many. */
  set(admission: Admission, guest: Endpoint, actual: Endpoint): void {
    const key = `${guest.address.text} ${guest.port}`;
    const flow = { admission, guest, actual, since: this.clock.now() };
    const known = this.#flows.get(key);
    this.#rule(flow);
    this.#flows.set(key, flow);
    if (known?.admission.current.allow) this.#end(known, "closed");
    if (admission.current.allow) this.recorder.opened(admission, this.circuit);
  }

  /** Forget the oldest flow, to make room. */
  forgetOldest(): void {
    for (const [key, flow] of this.#flows) {
      this.#flows.delete(key);
      if (flow.admission.current.allow) this.#end(flow, "closed");
      this.host.forget(flow.guest);
      return;
    }
  }

  /** Policy has changed its mind about a flow. */
  revised(flow: Flow): void {
    this.#rule(flow);
    if (!flow.admission.current.allow) return this.#end(flow, "policy");
    flow.since = this.clock.now();
    this.recorder.opened(flow.admission, this.circuit);
  }

  /** The circuit is over. */
  close(why: EndReason): void {
    for (const flow of this.#flows.values()) if (flow.admission.current.allow) this.#end(flow, why);
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
      seconds: (this.clock.now() - since) / 1000,
      why,
    });
  }
}
