/**
 * What a change of policy does to circuits: each one's admission is asked about again.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { formatEndpoint } from "../net/address.ts";
import type { Admission } from "./admission.ts";
import type { Gatekeeper } from "./gatekeeper.ts";
import type { Circuit } from "./circuit.ts";
import type { Circuits } from "./circuits.ts";
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
  const cut: [Circuit, Admission][] = [];
  let checked = 0;
  // Cutting one may end others: a driver that does not read its events is at fault.
  for (const circuit of [...circuits.all]) {
    if (circuit.state !== "open") continue;
    if (circuit.admission) {
      checked++;
      gate.review(circuit.admission);
      if (circuit.admission.current.allow) continue;
      circuits.cut(circuit);
      cut.push([circuit, circuit.admission]);
    }
    const flows = circuits.flowsOf(circuit);
    for (const flow of flows?.all ?? []) {
      checked++;
      if (!gate.review(flow.admission)) continue;
      flows!.revised(flow);
      if (!flow.admission.current.allow) cut.push([circuit, flow.admission]);
    }
  }
  // A line takes longer than a cut.
  const most = gate.limits.denialBurst;
  for (const [circuit, admission] of cut.slice(0, most)) logCut(circuit, admission);
  if (cut.length > most) log.warn("{count} more connections were cut", { count: cut.length - most });
  return { checked, cut: cut.length };
}

/** The live connections that `judge` would cut. */
export function forbiddenCircuits(circuits: Circuits, judge: (admission: Admission) => Verdict): ForbiddenCircuit[] {
  const found: ForbiddenCircuit[] = [];
  for (const circuit of circuits.all) {
    if (circuit.state !== "open") continue;
    const admissions = circuit.admission ? [circuit.admission] : [];
    for (const { admission } of circuits.flowsOf(circuit)?.all ?? []) {
      if (admission.current.allow) admissions.push(admission);
    }
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

function logCut({ number }: Circuit, { attempt, current }: Admission): void {
  log.warn("circuit {circuit} cut: {from} {source} -> {to} {destination}, {protocol}: {reason}", {
    circuit: number,
    from: attempt.from,
    source: formatEndpoint(attempt.source),
    to: attempt.to,
    destination: formatEndpoint(attempt.destination),
    protocol: attempt.protocol,
    reason: current.reason,
    revision: current.revision,
  });
}
