/**
 * The switch: the composition root, which ties the data plane, the vhost-user back-end and the switch operator together.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { AuditLog, type Identify } from "../audit/audit_log.ts";
import { DEFAULT_LIMITS, descriptorsOf, type Limits } from "../circuit/limits.ts";
import { Directory, GATEWAY, type Reservation } from "../circuit/directory.ts";
import { Operator } from "../circuit/operator.ts";
import type { Recorder } from "../circuit/recorder.ts";
import type { ForbiddenCircuit, RevisionCount } from "../circuit/revision.ts";
import type { OnDeny, VerdictFunction } from "../circuit/verdict.ts";
import type { Vm } from "../circuit/vm.ts";
import { systemClock } from "../clock.ts";
import { errnoName } from "../errno.ts";
import { Cgroup } from "../ffi/cgroup.ts";
import { type Library, openLibrary } from "../ffi/library.ts";
import {
  type AcceptHandler,
  OWN_SOCKET,
  Plane,
  type PlaneCounters,
  type PortStatus,
  SHARED_SOCKET,
} from "../ffi/plane.ts";
export type { PortStatus } from "../ffi/plane.ts";
import type { Publication, PublicationStatus } from "../circuit/publish.ts";
export type { Publication, PublicationStatus } from "../circuit/publish.ts";
export type { OnDeny } from "../circuit/verdict.ts";
export type { OnChange } from "./policy_keeper.ts";
export type { PortResources } from "./port_groups.ts";
export type { Namespaces, VmProfile } from "./workloads.ts";
import { type Address, type Endpoint, Network } from "../net/address.ts";
import type { Cidr } from "../net/cidr.ts";
import type { Action, Workload } from "../policy/model.ts";
import { Enforcer, type Member } from "./enforcer.ts";
import { FrontEndVm } from "./front_end_vm.ts";
import { Names } from "./names.ts";
import { controlPolicy, type SwitchPolicy } from "./policy_control.ts";
import { type OnChange, PolicyKeeper } from "./policy_keeper.ts";
import { PortGroups, type PortResources } from "./port_groups.ts";
import { type Namespaces, switchWorkload, type VmProfile, workloadOf } from "./workloads.ts";

const log = getLogger(["csvn", "switch"]);

/** A VM with a socket of its own. */
export interface VmConfig extends VmProfile, PortResources {
  readonly name: string;
  /** Path of the unix socket that is its alone. */
  readonly socket: string;
  /** Its IPv4 address; default: the next free one. */
  readonly address?: Address | undefined;
  /** Its IPv6 address; default: the same place in the IPv6 network. */
  readonly address6?: Address | undefined;
}

/** A socket for any number of VMs, and what they are to policies. */
export interface SharedSocket extends VmProfile, PortResources {
  readonly path: string;
}

/** What may connect to what. */
export interface PolicyOptions {
  /** Files and directories of policies. */
  readonly paths?: readonly string[];
  /** What becomes of VMs that no policy selects; default: they are not isolated, as in Kubernetes. */
  readonly default?: Action | undefined;
  /** What a denied attempt comes to in the guest; default: refuse. */
  readonly onDeny?: OnDeny | undefined;
  /** What becomes of circuits that a changed policy forbids; default: they are cut. */
  readonly onChange?: OnChange | undefined;
  /** Are denials only logged? */
  readonly audit?: boolean | undefined;
  /** Labels of namespaces. */
  readonly namespaces?: Namespaces;
}

/** How a switch is set up. */
export interface SwitchOptions {
  /** Sockets for any number of VMs each, which get the next free names and addresses. */
  readonly sockets?: readonly (string | SharedSocket)[];
  readonly vms?: readonly VmConfig[];
  /** Default: `10.77.0.0/16`. */
  readonly network4?: Network;
  /** Default: `fd77:6373:766e::/64`. */
  readonly network6?: Network;
  /** Default: no policy, which allows everything. */
  readonly policy?: PolicyOptions;
  /** Asked in place of the policies. */
  readonly verdict?: VerdictFunction;
  /** A file for the audit log; default: none. */
  readonly auditLog?: string | undefined;
  /** Told about connections in place of the audit log. */
  readonly recorder?: Recorder | undefined;
  /** Permission bits of the sockets; default 0600. */
  readonly socketMode?: number;
  readonly limits?: Partial<Limits>;
  /** May VMs reach what is no VM, by the host's stack? Default: yes. */
  readonly outside?: boolean;
  /** Ports of the host that VMs may reach, at the switch's address or their own. */
  readonly allowHost?: readonly Endpoint[];
  /** Addresses that VMs must not reach by the host's stack, besides those that they never do. The host's own, but its loopback, they do. */
  readonly forbid?: readonly Cidr[];
  /** Asked for names that are not the switch's; default: the host's resolvers. */
  readonly resolvers?: readonly Endpoint[] | undefined;
  /** Seconds for which a VM may connect by a name to the address that it was told, at least; default 1. */
  readonly learnedSeconds?: number | undefined;
  /** Names that lead to VMs, by name, or to addresses. */
  readonly services?: ReadonlyMap<string, readonly (string | Address)[]>;
  /** Ports of the host's network that lead to VMs. */
  readonly publish?: readonly Publication[];
  /** A control group (version 2) that is the switch's to part: each VM's port is put into a group of its own there, by the VM's name. Default: ports stay in the switch's. */
  readonly cgroup?: string | undefined;
  /**
   * Do the ports' processes outlive the switch when it is closed? They answer the front-ends, since QEMU and its guest do not survive that their
   * back-end goes away, and each ends with its own. For a switch that is a program of its own. They always outlive one that is killed.
   */
  readonly portsStay?: boolean;
}

/** What a VM holds. */
export interface VmStatus {
  readonly name: string;
  readonly state: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly circuits: number;
  readonly listeners: number;
  readonly attempts: number;
  readonly arenas: number;
  /** Questions for names that policy hides from it. */
  readonly hiddenNames: number;
}

/** What a switch holds at a moment. */
export interface SwitchStatus {
  readonly vms: readonly VmStatus[];
  readonly circuits: { readonly open: number; readonly total: number };
  /** Bytes, and 4 KiB pages that have memory behind them. */
  readonly arenas: readonly {
    readonly number: number;
    readonly vms: readonly string[];
    readonly bytes: number;
    readonly pages: number;
    readonly circuits: number;
  }[];
  readonly publications: readonly PublicationStatus[];
  /** The VMs' ports, and those that were killed and have not ended. */
  readonly ports: readonly PortStatus[];
  /** Open file descriptors of the process. */
  readonly descriptors: number;
  readonly plane: PlaneCounters;
}

/** What a switch is made of; all of it is the switch's to dispose. */
interface SwitchParts {
  readonly options: SwitchOptions;
  readonly library: Library;
  readonly plane: Plane;
  readonly keeper: PolicyKeeper;
  readonly enforcer: Enforcer;
  readonly audit: AuditLog | undefined;
  readonly names: Names;
  readonly operator: Operator;
  readonly groups: PortGroups | undefined;
}

/** Milliseconds in which it is said once that descriptors are short. */
const SHORT_SAID_MS = 60_000;

/** The network that VMs get their IPv4 addresses from by default. */
export const DEFAULT_NETWORK4 = "10.77.0.0/16";
/** The network that VMs get their IPv6 addresses from by default. */
export const DEFAULT_NETWORK6 = "fd77:6373:766e::/64";

/**
 * A running switch.
 *
 * @example
 * ```ts ignore
 * import { Switch } from "./switch.ts";
 * await using csvn = await Switch.start({ sockets: ["/run/csvn.sock"] });
 * console.log(csvn.status().vms);
 * ```
 */
export class Switch implements AsyncDisposable {
  /** The policies that hold. */
  readonly policy: SwitchPolicy;
  readonly #plane: Plane;
  readonly #operator: Operator;
  readonly #options: SwitchOptions;
  readonly #names: Names;
  readonly #audit: AuditLog | undefined;
  readonly #keeper: PolicyKeeper;
  readonly #enforcer: Enforcer;
  readonly #groups: PortGroups | undefined;
  readonly #live = new Set<FrontEndVm>();
  readonly #stops: (() => void)[] = [];
  readonly #library: Library;
  readonly #limits: Limits;
  #saidJail = false;
  #saidShort = false;
  #saidShortAt = -Infinity;

  private constructor({ options, library, plane, keeper, enforcer, audit, names, operator, groups }: SwitchParts) {
    this.#options = options;
    this.#library = library;
    this.#plane = plane;
    this.#keeper = keeper;
    this.#enforcer = enforcer;
    this.#audit = audit;
    this.#names = names;
    this.#operator = operator;
    this.#groups = groups;
    this.#limits = limitsOf(options);
    plane.short = (errno) => this.#tellShort(errno);
    plane.jailed = (ownUser, lacks) => this.#tellJail(ownUser, lacks);
    this.policy = controlPolicy(keeper, enforcer, operator);
  }

  /**
   * Start a switch.
   *
   * @throws {PolicyError} when policy files are wrong.
   * @throws {LibraryError} when the helper library cannot be built or opened.
   * @throws {DirectoryError} when names or addresses collide.
   * @throws {SystemError} when a socket cannot be listened on.
   */
  static async start(options: SwitchOptions): Promise<Switch> {
    // What has been opened when something fails is closed.
    await using opened = new AsyncDisposableStack();
    const made = opened.use(new Switch(await partsOf(options)));
    made.#listenAll(options);
    made.#watchPolicies();
    opened.move();
    return made;
  }

  /**
   * Policy has changed: the verdict function is asked again about every connection. Those that it does not allow any more are cut at
   * once; the others notice nothing.
   */
  revise(): RevisionCount {
    return this.#operator.revise();
  }

  /** The live connections that a verdict function would cut; nothing is changed. */
  forbidden(verdict: VerdictFunction): ForbiddenCircuit[] {
    return this.#operator.forbidden(verdict);
  }

  /** Open the audit log's file anew, after it was moved away. @throws {SystemError} The old one is written on, then. */
  reopenAuditLog(): void {
    this.#audit?.reopen();
  }

  /** What it holds now. */
  status(): SwitchStatus {
    const { circuits, arenas, directory, listeners } = this.#operator;
    return {
      vms: [...directory.vms].map((vm) => ({
        name: vm.name,
        state: vm.state,
        ipv4: vm.identity.ipv4.text,
        ipv6: vm.identity.ipv6.text,
        circuits: circuits.of(vm).size,
        listeners: listeners.of(vm).size,
        attempts: this.#operator.attempts(vm).size,
        arenas: arenas.endsOf(vm).size,
        hiddenNames: this.#names.hidden(vm),
      })),
      circuits: { open: circuits.size, total: circuits.total },
      arenas: [...arenas.all].map((arena) => ({
        number: arena.number,
        vms: arena.ends.map((end) => end.vm.name),
        bytes: arena.memory.length,
        pages: arena.memory.pages(),
        circuits: arena.circuits,
      })),
      publications: this.#operator.publications,
      ports: this.#plane.ports,
      descriptors: this.#plane.descriptors,
      plane: this.#plane.counters(),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#keeper[Symbol.asyncDispose]();
    for (const stop of this.#stops) stop();
    if (this.#options.portsStay) this.#plane.handOver();
    for (const served of [...this.#live]) served.end("the switch stops");
    this.#operator[Symbol.dispose]();
    await this.#names[Symbol.asyncDispose]();
    await this.#plane[Symbol.asyncDispose]();
    await this.#groups?.[Symbol.asyncDispose]();
    await this.#audit?.[Symbol.asyncDispose]();
    this.#library.close();
  }

  #listenAll({ sockets = [], vms = [], socketMode = 0o600 }: SwitchOptions): void {
    for (const socket of sockets) {
      const shared = typeof socket === "string" ? { path: socket } : socket;
      this.#listen(shared.path, undefined, shared, socketMode);
    }
    for (const vm of vms) this.#listen(vm.socket, vm.name, vm, socketMode);
  }

  #listen(path: string, reserved: string | undefined, profile: VmProfile & PortResources, mode: number): void {
    const context = {
      operator: this.#operator,
      names: this.#names,
      enforcer: this.#enforcer,
      member: (vm: Vm) => this.#member(vm, profile),
      windowBytes: this.#limits.windowBytes,
      reserved,
      live: this.#live,
      clock: systemClock,
      groups: this.#groups,
      resources: profile,
    };
    const accept: AcceptHandler = (frontEnd, credentials) => {
      log.debug("front-end on {path}: process {pid}, user {uid}", { path, ...credentials });
      return FrontEndVm.serve(frontEnd, context);
    };
    const pace = reserved === undefined ? SHARED_SOCKET : OWN_SOCKET;
    this.#stops.push(this.#plane.listen(path, mode, accept, pace));
    log.info("listening on {path}", { path });
  }

  /** Descriptors are short, or (0) not any more. It may come and go: it is said once in a while. */
  #tellShort(errno: number): void {
    const now = systemClock.now();
    if (errno === 0 ? !this.#saidShort : now - this.#saidShortAt < SHORT_SAID_MS) return;
    this.#saidShort = errno !== 0;
    if (errno === 0) return log.info("there are descriptors again: connections are accepted");
    this.#saidShortAt = now;
    log.error("out of descriptors or kernel memory ({error}): new connections wait; raise the limit of open files", {
      error: errnoName(errno),
    });
  }

  /** Of the first port: it is the same with all. */
  #tellJail(ownUser: boolean, lacks: string): void {
    if (this.#saidJail) return;
    this.#saidJail = true;
    if (!ownUser) log.debug("ports have the switch's user: only root can give each one of its own");
    if (lacks !== "") log.warn("ports' processes are jailed as well as can be, but: {lacks}", { lacks });
  }

  #member({ identity }: Vm, profile: VmProfile): Member {
    const { onDeny = "refuse", audit = false } = this.#options.policy ?? {};
    return {
      workload: workloadOf(identity, profile, namespacesOf(this.#options)),
      onDeny: profile.onDeny ?? onDeny,
      audit: profile.audit ?? audit,
    };
  }

  #watchPolicies(): void {
    if (this.#keeper.files.paths.length === 0) return;
    this.#keeper.watch(() => {
      if (this.#options.policy?.onChange !== "keep") this.#operator.revise();
    });
  }
}

/** Make what a switch is made of. When that fails, nothing is left open. @throws as {@linkcode Switch.start} */
async function partsOf(options: SwitchOptions): Promise<SwitchParts> {
  const { paths = [], default: defaultAction = "allow" } = options.policy ?? {};
  const network4 = options.network4 ?? Network.parse(DEFAULT_NETWORK4);
  const network6 = options.network6 ?? Network.parse(DEFAULT_NETWORK6);
  await using opened = new AsyncDisposableStack();
  const keeper = opened.use(await PolicyKeeper.start(paths, defaultAction));
  const library = openLibrary();
  opened.defer(() => library.close());
  const report = (error: unknown): void => log.error("a bug of csvn's: {error}", { error });
  const plane = opened.use(await Plane.open(library, descriptorsOf(limitsOf(options)), report));
  const self = switchWorkload(gatewaysOf(network4, network6), namespacesOf(options));
  const enforcer = new Enforcer(() => keeper.set, self, systemClock, options.learnedSeconds);
  const identify: Identify = (vm) => {
    const workload = enforcer.workload(vm);
    return workload && { namespace: workload.namespace, labels: workload.labels };
  };
  const audit = options.auditLog === undefined ? undefined : opened.use(AuditLog.open(options.auditLog, identify));
  const { resolvers, services = new Map() } = options;
  const names = opened.use(new Names({ resolvers, services, enforcer }, () => operator.directory));
  const operator: Operator = new Operator({
    limits: limitsOf(options),
    network4,
    network6,
    vms: (options.vms ?? []).map(reservationOf),
    verdict: options.verdict ?? ((attempt, before) => enforcer.verdict(attempt, before)),
    recorder: options.recorder ?? audit,
    memory: (length, vms) => plane.arena(length, vms),
    host: plane.host,
    outside: options.outside ?? true,
    allowHost: options.allowHost ?? [],
    forbid: options.forbid,
    ownServices: (vm, protocol, port) => names.endpoint(vm, protocol, port),
    publish: options.publish ?? [],
  });
  const groups = await groupsOf(options, library);
  opened.move();
  return { options, library, plane, keeper, enforcer, audit, names, operator, groups };
}

async function groupsOf(
  { cgroup, sockets = [], vms = [] }: SwitchOptions,
  library: Library,
): Promise<PortGroups | undefined> {
  if (cgroup === undefined) return undefined;
  const all = [...sockets.filter((socket) => typeof socket !== "string"), ...vms];
  return await PortGroups.open(new Cgroup(library, cgroup), all, systemClock);
}

function limitsOf({ limits }: SwitchOptions): Limits {
  return { ...DEFAULT_LIMITS, ...limits };
}

function namespacesOf({ policy }: SwitchOptions): Namespaces {
  return policy?.namespaces ?? new Map();
}

/** The workloads that are configured, as policies see them, and the switch's own. @throws {DirectoryError} */
export function configuredWorkloads(
  { vms, network4, network6, namespaces }: {
    readonly vms: readonly VmConfig[];
    readonly network4?: Network | undefined;
    readonly network6?: Network | undefined;
    readonly namespaces: Namespaces;
  },
): Workload[] {
  const [four, six] = [network4 ?? Network.parse(DEFAULT_NETWORK4), network6 ?? Network.parse(DEFAULT_NETWORK6)];
  const directory = new Directory(four, six, vms.map(reservationOf));
  return [
    ...vms.map((vm) => workloadOf(directory.identify(vm.name), vm, namespaces)),
    switchWorkload(gatewaysOf(four, six), namespaces),
  ];
}

function reservationOf({ name, address, address6 }: VmConfig): Reservation {
  return { name, ipv4: address, ipv6: address6 };
}

function gatewaysOf(network4: Network, network6: Network): Address[] {
  return [network4.at(GATEWAY)!, network6.at(GATEWAY)!];
}
