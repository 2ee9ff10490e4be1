/**
 * What can be asked of a running switch's policies, and done with them.
 *
 * @module
 */

import type { Operator } from "../circuit/operator.ts";
import type { ForbiddenCircuit } from "../circuit/revision.ts";
import { type Change, diff } from "../policy/diff.ts";
import { explain, type Explanation } from "../policy/explain.ts";
import { PolicyFiles } from "../policy/files.ts";
import type { Workload } from "../policy/model.ts";
import { PolicySet } from "../policy/policy_set.ts";
import { parseQuestion } from "../policy/question.ts";
import type { Enforcer } from "./enforcer.ts";
import type { KeptPolicies, PolicyKeeper, Reload } from "./policy_keeper.ts";

/** What other policies would change in a running switch. */
export interface Preview {
  readonly revisionBefore: string;
  readonly revisionAfter: string;
  /** Connections between the VMs that are there, and with the outside. */
  readonly changes: readonly Change[];
  /** Changes beyond those. */
  readonly omitted: number;
  /** Circuits that would be cut. */
  readonly cut: readonly ForbiddenCircuit[];
}

const CHANGES_MAX = 1000;

/** The policies of a running switch. */
export interface SwitchPolicy {
  /** What holds, and what is wrong with the files, if anything. */
  status(): KeptPolicies;
  /** Read the files again. @param why For the log. */
  reload(why: string): Promise<Reload>;
  /** Why a connection is allowed or denied; see {@linkcode parseQuestion}. @throws {QuestionError} */
  explain(from: string, to: string): Explanation;
  /** What would change with the policies of these files and directories. @throws {PolicyError} */
  preview(paths: readonly string[]): Promise<Preview>;
}

/** The policies that a keeper keeps for an enforcer. */
export function controlPolicy(keeper: PolicyKeeper, enforcer: Enforcer, operator: Operator): SwitchPolicy {
  const workloads = (): Workload[] => [...enforcer.workloads, enforcer.self];
  return {
    status: () => keeper.status(),
    reload: (why) => keeper.reload(why),
    explain: (from, to) => explain(keeper.set, parseQuestion(from, to, workloads())),
    async preview(paths): Promise<Preview> {
      const before = keeper.set;
      const after = new PolicySet(await new PolicyFiles(paths).read(), before.defaultAction);
      const changes: Change[] = [];
      let omitted = 0;
      for (const change of diff(before, after, workloads())) {
        if (changes.length < CHANGES_MAX) changes.push(change);
        else omitted++;
      }
      const cut = operator.forbidden((attempt, earlier) => enforcer.judge(after, attempt, earlier));
      return { revisionBefore: before.revision, revisionAfter: after.revision, changes, omitted, cut };
    },
  };
}
