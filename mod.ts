/**
 * csvn: a circuit-switched network for the VMs of one host. As a program, `deno run -A mod.ts --socket PATH` runs a
 * switch; as a library, {@linkcode Switch} does.
 *
 * @example A switch with Kubernetes' NetworkPolicy
 * ```ts ignore
 * import { Switch } from "./mod.ts";
 *
 * await using csvn = await Switch.start({
 *   vms: [{ name: "web", socket: "/run/csvn/web.sock", labels: { app: "web" } }],
 *   policy: { paths: ["policies/default-deny.yaml"], default: "deny" },
 * });
 * console.log(csvn.policy.explain("web", "192.0.2.1:443"));
 * ```
 *
 * @example A switch with a function in place of policies
 * ```ts ignore
 * import { Switch } from "./mod.ts";
 *
 * await using csvn = await Switch.start({
 *   sockets: ["/run/csvn.sock"],
 *   verdict: ({ destination }) =>
 *     destination.port === 22
 *       ? { allow: false, reason: "no ssh between tenants" }
 *       : { allow: true, reason: "anything else" },
 * });
 * ```
 *
 * @module
 */

export { AuditLog, type Identify, type VmLabels } from "./src/audit/audit_log.ts";
export { Admission } from "./src/circuit/admission.ts";
export type { EndReason, Outcome } from "./src/circuit/circuit.ts";
export { DirectoryError } from "./src/circuit/directory.ts";
export { DEFAULT_LIMITS, type Limits } from "./src/circuit/limits.ts";
export type { Protocol } from "./src/circuit/listener.ts";
export type { RecordedCircuit, Recorder } from "./src/circuit/recorder.ts";
export type { ForbiddenCircuit, RevisionCount } from "./src/circuit/revision.ts";
export {
  allowAll,
  type Attempt,
  denyAll,
  type OnDeny,
  type Verdict,
  type VerdictFunction,
} from "./src/circuit/verdict.ts";
export { Errno, type ErrnoName, errnoName, SystemError } from "./src/errno.ts";
export { LibraryError } from "./src/ffi/library.ts";
export type { PlaneCounters } from "./src/ffi/plane.ts";
export type { Preview, SwitchPolicy } from "./src/host/policy_control.ts";
export type { KeptPolicies, OnChange, Reload } from "./src/host/policy_keeper.ts";
export {
  DEFAULT_NETWORK4,
  DEFAULT_NETWORK6,
  type PolicyOptions,
  type PortResources,
  type PortStatus,
  type Publication,
  type PublicationStatus,
  type SharedSocket,
  Switch,
  type SwitchOptions,
  type SwitchStatus,
  type VmConfig,
  type VmStatus,
} from "./src/host/switch.ts";
export type { Namespaces, VmProfile } from "./src/host/workloads.ts";
export { type Address, AddressError, type Endpoint, Network, parseAddress } from "./src/net/address.ts";
export { Cidr } from "./src/net/cidr.ts";
export type { Change } from "./src/policy/diff.ts";
export type { DirectionExplanation, Explanation, PolicyExplanation, RuleExplanation } from "./src/policy/explain.ts";
export { PolicyError } from "./src/policy/files.ts";
export type { Action, Direction, NamedPort, PolicyProtocol } from "./src/policy/model.ts";
export { QuestionError } from "./src/policy/question.ts";
export type { Labels } from "./src/policy/selector.ts";

if (import.meta.main) {
  const { main } = await import("./src/cli/main.ts");
  Deno.exit(await main(Deno.args));
}
