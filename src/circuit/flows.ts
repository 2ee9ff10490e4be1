/**
 * The flows of a datagram circuit to the host's stack: with whom its socket may exchange datagrams. A flow is one admission: of a
 * destination that the guest asked for, or at a published port of a source from which datagrams came.
 *
 * Theory of operation. The data plane keeps a rule for each flow, also for those that are denied, so that nothing is asked twice. When policy
 * changes its mind about a flow, the rule changes, and the guest does nothing. A flow that policy has cut stays for as long as the circuit does.
 * A socket may live for years, and talk to new addresses all the time: when there are too many, one is forgotten on which nothing has passed lately.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import type { Endpoint } from "../net/address.ts";
import { type Admission, denialErrno } from "./admission.ts";
import type { Circuit, EndReason } from "./circuit.ts";
import type { HostDatagram } from "./host.ts";
import type { Limits } from "./limits.ts";
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
  /** Bytes that have passed since then, as far as was asked. */
  sent: bigint;
  received: bigint;
}

/** How many flows a VM has, of all its circuits. */
export interface FlowCount {
  flows: number;
}

/** All flows of one circuit. */
export class Flows {
  readonly #flows = new Map<string, Flow>();

  /** @param count Of its VM. */
  constructor(
    readonly circuit: Circuit,
    readonly count: FlowCount,
    readonly host: HostDatagram,
    readonly recorder: Recorder,
    readonly clock: Clock,
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
    return this.size >= maxFlows || (this.size > 0 && this.count.flows >= maxVmFlows);
  }

  /** Do as an admission says. Where there are too many, of this circuit or of the VM, another is forgotten. */
  set(admission: Admission, guest: Endpoint, actual: Endpoint): void {
    const key = `${guest.address.text} ${guest.port}`;
    const flow: Flow = { admission, guest, actual, since: this.clock.now(), sent: 0n, received: 0n };
    const known = this.#flows.get(key);
    if (!known && this.full) this.#makeRoom();
    this.#rule(flow);
    this.#flows.delete(key);
    this.#flows.set(key, flow);
    if (!known) this.count.flows++;
    if (known?.admission.current.allow) this.#end(known, "closed");
    if (admission.current.allow) this.recorder.opened(admission, this.circuit);
  }

  /** Forget a flow: the oldest on which nothing has passed since this was looked for, or the oldest. */
  #makeRoom(): void {
    for (let looks = this.#flows.size; looks >= 0; looks--) {
      const [key, flow] = this.#flows.entries().next().value!;
      const busy = this.#moved(flow) && looks > 0;
      this.#flows.delete(key);
      // Those that are busy go to the end; after a round, all have been there.
      if (busy) {
        this.#flows.set(key, flow);
        continue;
      }
      this.count.flows--;
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
    flow.sent = flow.received = 0n;
    this.recorder.opened(flow.admission, this.circuit);
  }

  /** The circuit is over. */
  close(why: EndReason): void {
    for (const flow of this.#flows.values()) if (flow.admission.current.allow) this.#end(flow, why);
    this.count.flows -= this.#flows.size;
    this.#flows.clear();
  }

  #rule({ admission: { current }, guest, actual }: Flow): void {
    this.host.permit(guest, actual, current.allow, current.allow ? 0 : denialErrno(current));
  }

  /** Count what has passed; whether that was anything. */
  #moved(flow: Flow): boolean {
    const { sent, received } = this.host.moved(flow.guest);
    flow.sent += sent;
    flow.received += received;
    return sent + received > 0n;
  }

  #end(flow: Flow, why: EndReason): void {
    this.#moved(flow);
    const { admission, since, sent, received } = flow;
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
