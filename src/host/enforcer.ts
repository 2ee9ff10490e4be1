/**
 * Enforces a set of policies: answers the switch operator's attempts with verdicts, and says which names a VM may ask for.
 *
 * Theory of operation. The VM's name, which its socket gave it, leads to its workload. A name that the switch's resolver told a VM is a
 * name of the destination for that VM, for as long as the answer's time to live. A VM whose rules name domains may ask the switch's
 * resolver for these, whatever else it may reach; without the names the rules would mean nothing.
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import type { Attempt, OnDeny, Verdict } from "../circuit/verdict.ts";
import type { Forwardable } from "../dns/responder.ts";
import { isAddress, type ZoneRecord } from "../dns/zone.ts";
import { unmapped } from "../net/address.ts";
import type { DomainPattern } from "../policy/domain_pattern.ts";
import { LEARNED_SECONDS_MIN, LearnedNames } from "../policy/learned_names.ts";
import type { Connection, Workload } from "../policy/model.ts";
import type { PolicySet, SetVerdict } from "../policy/policy_set.ts";
import { directionDetails, reasonOf } from "../policy/reason.ts";

const DNS_PORT = 53;
/** What is no VM, in an attempt. */
const HOST = "host";

/** A VM that is on the switch. */
export interface Member {
  readonly workload: Workload;
  readonly onDeny: OnDeny;
  /** Are its denials only logged? */
  readonly audit: boolean;
}

interface Known extends Member {
  readonly names: LearnedNames;
}

/** Answers for the set of policies that holds now. */
export class Enforcer {
  readonly #members = new Map<string, Known>();

  /**
   * @param current The set that holds.
   * @param self The switch's own services.
   * @param learnedSeconds Seconds for which a VM may connect to an address by the name that it was told, at least.
   */
  constructor(
    readonly current: () => PolicySet,
    readonly self: Workload,
    readonly clock: Clock = systemClock,
    readonly learnedSeconds = LEARNED_SECONDS_MIN,
  ) {}

  /** A VM has come. */
  add(member: Member): void {
    this.#members.set(member.workload.name, {
      ...member,
      names: new LearnedNames(this.clock, this.learnedSeconds),
    });
  }

  /** A VM has gone. */
  remove(name: string): void {
    this.#members.get(name)?.names[Symbol.dispose]();
    this.#members.delete(name);
  }

  /** How many addresses are remembered by names. */
  get learned(): number {
    return [...this.#members.values()].reduce((sum, { names }) => sum + names.size, 0);
  }

  /** A VM as policies see it. */
  workload(name: string): Workload | undefined {
    return this.#members.get(name)?.workload;
  }

  /** The workloads that are there. */
  get workloads(): Workload[] {
    return [...this.#members.values()].map(({ workload }) => workload);
  }

  /** The verdict on an attempt. */
  verdict(attempt: Attempt, before?: Verdict): Verdict {
    return this.judge(this.current(), attempt, before);
  }

  /** The verdict that a set would come to. */
  judge(set: PolicySet, attempt: Attempt, before?: Verdict): Verdict {
    for (const name of [attempt.from, attempt.to]) {
      if (name !== HOST && !this.#members.has(name)) return { allow: false, reason: `${name} is not on the switch` };
    }
    const { from, to } = this.#ends(attempt);
    const connection = this.connection(attempt, before?.names);
    const verdict = set.evaluate(connection);
    const common = {
      revision: set.revision,
      ...(connection.names.length > 0 && { names: connection.names }),
      details: { egress: directionDetails(verdict.egress), ingress: directionDetails(verdict.ingress) },
    };
    if (verdict.allow) return { ...common, allow: true, reason: reasonOf(verdict) };
    if (verdict.egress?.basis.kind !== "rule" && this.#mayAsk(set, connection)) {
      return {
        ...common,
        allow: true,
        reason: `rules for ${connection.from!.name} name domains, which it may ask for`,
      };
    }
    const reason = reasonOf(verdict);
    if (this.#isOnlyAudited(verdict)) return { ...common, allow: true, wouldDeny: true, reason };
    return { ...common, allow: false, reason, onDeny: (from ?? to)?.onDeny ?? "refuse" };
  }

  /** An attempt as policies see it. @param earlier Names that the destination had when it was connected to. */
  connection(attempt: Attempt, earlier: readonly string[] = []): Connection {
    const { protocol, source, destination } = attempt;
    const { from, to } = this.#ends(attempt);
    const self = this.self.addresses.some(({ text }) => text === destination.address.text);
    const told = to || self ? [] : from?.names.of(destination.address) ?? [];
    return {
      protocol,
      from: from?.workload,
      source: source.address,
      to: to?.workload ?? (self ? this.self : undefined),
      destination: destination.address,
      port: destination.port,
      names: [...new Set([...told, ...earlier])],
    };
  }

  /** May a VM have the switch's resolver ask others for this name? In lower case. */
  mayResolve(vm: string, name: string): Forwardable {
    const member = this.#members.get(vm);
    if (!member) return "no";
    const set = this.current();
    if (member.audit || (["udp", "tcp"] as const).some((p) => set.evaluate(this.#dns(member.workload, p)).allow)) {
      return "yes";
    }
    const patterns = domains(set, member.workload);
    if (patterns.some((pattern) => pattern.matches(name))) return "yes";
    return patterns.some((pattern) => pattern.matchesBelow(name)) ? "below" : "no";
  }

  /** The switch's resolver tells a VM what a name's records are. */
  resolved(vm: string, name: string, records: readonly ZoneRecord[], ttl: number): void {
    // What is connected to comes unmapped.
    this.#members.get(vm)?.names.learn(name, records.filter(isAddress).map(unmapped), ttl);
  }

  #ends({ from, to }: Pick<Attempt, "from" | "to">): { from: Known | undefined; to: Known | undefined } {
    return { from: this.#members.get(from), to: this.#members.get(to) };
  }

  #dns(workload: Workload, protocol: "tcp" | "udp"): Connection {
    const [source, destination] = [workload.addresses[0]!, this.self.addresses[0]!];
    return { protocol, from: workload, source, to: this.self, destination, port: DNS_PORT, names: [] };
  }

  #mayAsk(set: PolicySet, { from, to, port }: Connection): boolean {
    return from !== undefined && to === this.self && port === DNS_PORT && domains(set, from).length > 0;
  }

  /** Is it denied only by directions of VMs whose denials are only logged? */
  #isOnlyAudited({ egress, ingress }: SetVerdict): boolean {
    return [egress, ingress].every((part) => !part || part.allow || this.#members.get(part.workload.name)?.audit);
  }
}

/** The names that rules allow a workload to reach. */
function domains(set: PolicySet, workload: Workload): DomainPattern[] {
  return set.rules("egress", workload).flatMap(({ action, peers = [] }) =>
    action === "deny" ? [] : peers.flatMap((peer) => peer.kind === "domains" ? peer.patterns : [])
  );
}
