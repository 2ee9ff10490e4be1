/**
 * What a change of policy does to circuits: each one's admission is asked about again.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { formatEndpoint } from "../net/address.ts";
import type { Admission, Gatekeeper } from "./admission.ts";
import type { Circuit } from "./circuit.ts";
import type { Circuits } from "./circuits.ts";
import type { Flow } from "./flows.ts";
import type { Attempt, Verdict } from "./verdict.ts";

const log = getLogger(["csvn", "policy"]);

/** What a change came to. */
export interface RevisionCount {
  /** Connections that were asked about. */
  readonly checked: number;
  /** Those of them that are over. */
  readonly cut: number;
}

/** A live connection that policy would cut. */
export interface ForbiddenCircuit {
  /** The circuit's running number. */
  readonly circuit: number;
  readonly protocol: "tcp" | "udp";
  readonly from: string;
  readonly source: string;
  readonly to: string;
  readonly destination: string;
  readonly reason: string;
}

/** Ask again about all circuits. */
export function reviseCircuits(circuits: Circuits, gate: Gatekeeper): RevisionCount {
  const count = { checked: 0, cut: 0 };
  // Cutting one may end others: a driver that does not read its events is at fault.
  for (const circuit of [...circuits.all]) {
    if (circuit.state !== "open") continue;
    if (circuit.admission) {
      count.checked++;
      gate.review(circuit.admission);
      if (circuit.admission.current.allow) continue;
      count.cut++;
      circuits.cut(circuit);
    }
    for (const flow of circuit.flows?.all ?? []) {
      count.checked++;
      if (!gate.review(flow.admission)) continue;
      if (!flow.admission.current.allow) count.cut++;
      logFlow(circuit, flow);
      circuit.flows!.revised(flow);
    }
  }
  return count;
}

/** The live connections that `judge` would cut. */
export function forbiddenCircuits(circuits: Circuits, judge: (admission: Admission) => Verdict): ForbiddenCircuit[] {
  const found: ForbiddenCircuit[] = [];
  for (const circuit of circuits.all) {
    if (circuit.state !== "open") continue;
    const admissions = circuit.admission ? [circuit.admission] : [];
    for (const { admission } of circuit.flows?.all ?? []) if (admission.current.allow) admissions.push(admission);
    for (const admission of admissions) {
      const verdict = judge(admission);
      if (!verdict.allow) found.push(forbidden(circuit.number, admission.attempt, verdict.reason));
    }
  }
  return found;
}

function forbidden(circuit: number, attempt: Attempt, reason: string): ForbiddenCircuit {
  const { protocol, from, source, to, destination } = attempt;
  return {
    circuit,
    protocol,
    from,
    source: formatEndpoint(source),
    to,
    destination: formatEndpoint(destination),
    reason,
  };
}

function logFlow({ number }: Circuit, { admission: { attempt, current } }: Flow): void {
  log.warn("circuit {circuit}: datagrams {from} {source} -> {to} {destination} {what}: {reason}", {
    circuit: number,
    from: attempt.from,
    source: formatEndpoint(attempt.source),
    to: attempt.to,
    destination: formatEndpoint(attempt.destination),
    what: current.allow ? "allowed again" : "cut",
    reason: current.reason,
    revision: current.revision,
  });
}
