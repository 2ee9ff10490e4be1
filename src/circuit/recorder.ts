/**
 * What the switch operator tells of connections, for an audit log.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Admission } from "./admission.ts";
import type { Outcome } from "./circuit.ts";

const log = getLogger(["csvn", "recorder"]);

/** A circuit, as a recorder sees it. */
export interface RecordedCircuit {
  /** Running number, as in the log. */
  readonly number: number;
}

/**
 * Told about connections. Each that was opened is closed once. It is called while a connection is set up: it must return at once, and must not
 * throw.
 */
export interface Recorder {
  /** Policy, or the switch, let it go nowhere (by the errno; 0: without an answer), or would have: then it is allowed. */
  denied(admission: Admission, errno: number): void;
  /** So many more of somebody's denials were not told, since they were too many. */
  suppressed(who: string, count: number): void;
  /** It is set up. */
  opened(admission: Admission, circuit: RecordedCircuit): void;
  /** It was allowed, and came to nothing. */
  failed(admission: Admission, errno: number): void;
  /** It is over; when policy cut it, the admission's current verdict says why. */
  closed(admission: Admission, circuit: RecordedCircuit, outcome: Outcome): void;
}

/** Records nothing. */
export const noRecorder: Recorder = {
  denied: () => {},
  suppressed: () => {},
  opened: () => {},
  failed: () => {},
  closed: () => {},
};

/** A recorder that cannot stop the switch: what it throws is a line in the log. */
export function guarded(recorder: Recorder): Recorder {
  const guard = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      log.error("the recorder threw: {error}", { error });
    }
  };
  return {
    denied: (...told) => guard(() => recorder.denied(...told)),
    suppressed: (...told) => guard(() => recorder.suppressed(...told)),
    opened: (...told) => guard(() => recorder.opened(...told)),
    failed: (...told) => guard(() => recorder.failed(...told)),
    closed: (...told) => guard(() => recorder.closed(...told)),
  };
}
