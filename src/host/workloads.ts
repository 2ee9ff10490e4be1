/**
 * VMs as policies see them: what the configuration says of them, and the addresses that the directory gave them.
 *
 * @module
 */

import type { VmIdentity } from "../circuit/records.ts";
import type { OnDeny } from "../circuit/verdict.ts";
import type { Address } from "../net/address.ts";
import type { NamedPort, Workload } from "../policy/model.ts";
import type { Labels } from "../policy/selector.ts";

/** What policies, and those who read the audit log, know of a VM beyond its name and addresses. */
export interface VmProfile {
  /** Default: `default`. */
  readonly namespace?: string | undefined;
  readonly labels?: Labels | undefined;
  /** Ports that policies name. */
  readonly ports?: readonly NamedPort[] | undefined;
  /** What a denied attempt comes to in it; default: as for all. */
  readonly onDeny?: OnDeny | undefined;
  /** Are its denials only logged? Default: as for all. */
  readonly audit?: boolean | undefined;
}

/** Labels of namespaces, by their names. */
export type Namespaces = ReadonlyMap<string, Labels>;

const METADATA_NAME = "kubernetes.io/metadata.name";

/** A namespace's labels: those that are configured, and its name. */
export function namespaceLabels(namespaces: Namespaces, name: string): Labels {
  return { ...namespaces.get(name), [METADATA_NAME]: name };
}

/** A VM as policies see it. */
export function workloadOf(
  { name, ipv4, ipv6 }: Pick<VmIdentity, "name" | "ipv4" | "ipv6">,
  { namespace = "default", labels = {}, ports = [] }: VmProfile,
  namespaces: Namespaces,
): Workload {
  return {
    name,
    namespace,
    labels,
    namespaceLabels: namespaceLabels(namespaces, namespace),
    addresses: [ipv4, ipv6],
    ports,
    isVm: true,
  };
}

/**
 * The switch's own services as policies see them: the name service stands where Kubernetes has its own, so that policies that allow
 * that allow this.
 */
export function switchWorkload(addresses: readonly Address[], namespaces: Namespaces): Workload {
  const namespace = "kube-system";
  return {
    name: "switch",
    namespace,
    labels: { "k8s-app": "kube-dns" },
    namespaceLabels: namespaceLabels(namespaces, namespace),
    addresses,
    ports: [{ name: "dns", port: 53, protocol: "udp" }, { name: "dns-tcp", port: 53, protocol: "tcp" }],
    isVm: false,
  };
}
