/**
 * A recorder that keeps what it is told, as short lines.
 *
 * @module
 */

import type { Admission } from "../../src/circuit/admission.ts";
import type { Outcome } from "../../src/circuit/circuit.ts";
import type { RecordedCircuit, Recorder } from "../../src/circuit/recorder.ts";

function ends({ attempt: { from, to, destination } }: Admission): string {
  return `${from} -> ${to}:${destination.port}`;
}

/** Such a recorder. */
export class FakeRecorder implements Recorder {
  readonly lines: string[] = [];
  readonly outcomes: Outcome[] = [];

  denied(admission: Admission, errno: number): void {
    this.lines.push(`${admission.current.allow ? "would-deny" : "denied"} ${ends(admission)} ${errno}`);
  }

  suppressed(who: string, count: number): void {
    this.lines.push(`suppressed ${who} ${count}`);
  }

  opened(admission: Admission, circuit: RecordedCircuit): void {
    this.lines.push(`opened ${ends(admission)} ${circuit.number}`);
  }

  failed(admission: Admission, errno: number): void {
    this.lines.push(`failed ${ends(admission)} ${errno}`);
  }

  closed(admission: Admission, circuit: RecordedCircuit, outcome: Outcome): void {
    this.outcomes.push(outcome);
    this.lines.push(`closed ${ends(admission)} ${circuit.number} ${outcome.why}`);
  }
}
