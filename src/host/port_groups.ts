/**
 * Control groups of ports: each VM's in one of its own, by the VM's name, in a subtree that an operator has delegated. So the host's CPUs and memory are parted between
 * VMs as between any other processes.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock } from "../clock.ts";
import { Errno, SystemError } from "../errno.ts";

const log = getLogger(["csvn", "switch"]);

/** What a VM's port may have of the host. */
export interface PortResources {
  /** Its share of busy CPUs, 1 to 10000; as all others: 100. */
  readonly cpuWeight?: number | undefined;
  /** Bytes of memory that it may take, of its own. */
  readonly memoryMax?: number | undefined;
  /** The CPUs that it runs on, such as `0-3,6`. */
  readonly cpus?: string | undefined;
}

/** A control group. All reject with a {@linkcode SystemError}. */
export interface Group {
  readonly path: string;
  child(name: string): Group;
  make(): Promise<void>;
  write(file: string, text: string): Promise<void>;
  remove(): Promise<void>;
}

/** Milliseconds between two tries to remove a group, whose process takes its time to end; and how many there are. */
const REMOVE_MS = 100;
const REMOVES = 600;

/** The files of a group that say what is in it. */
function files({ cpuWeight, memoryMax, cpus }: PortResources): [controller: string, file: string, text: string][] {
  return [
    ...cpuWeight === undefined ? [] : [["cpu", "cpu.weight", `${cpuWeight}`] as [string, string, string]],
    ...memoryMax === undefined ? [] : [["memory", "memory.max", `${memoryMax}`] as [string, string, string]],
    ...cpus === undefined ? [] : [["cpuset", "cpuset.cpus", cpus] as [string, string, string]],
  ];
}

/** The groups of all VMs. */
export class PortGroups implements Disposable {
  /** Ports in each group. */
  readonly #ports = new Map<string, number>();
  #disposed = false;

  private constructor(readonly root: Group, readonly clock: Clock) {}

  /**
   * Use a subtree, which is made if it is not there.
   *
   * @param all What VMs may be given.
   * @throws {SystemError} when it is no control group of version 2, or lacks a controller that is needed.
   */
  static async open(root: Group, all: readonly PortResources[], clock: Clock): Promise<PortGroups> {
    await root.make();
    for (const controller of new Set(all.flatMap(files).map(([controller]) => controller))) {
      await root.write("cgroup.subtree_control", `+${controller}`);
    }
    // There is nothing to be written yet, but it must be there.
    await root.write("cgroup.procs", "");
    return new PortGroups(root, clock);
  }

  /** Put a VM's port into the VM's group. @throws {SystemError} */
  async enter(vm: string, pid: number, resources: PortResources): Promise<void> {
    this.#ports.set(vm, (this.#ports.get(vm) ?? 0) + 1);
    const group = this.root.child(vm);
    await group.make();
    for (const [, file, text] of files(resources)) await group.write(file, text);
    await group.write("cgroup.procs", `${pid}`);
  }

  /** A port of a VM, which was put there, is about to end. */
  async leave(vm: string): Promise<void> {
    const left = (this.#ports.get(vm) ?? 0) - 1;
    if (left > 0) return void this.#ports.set(vm, left);
    this.#ports.delete(vm);
    for (let i = 0; !this.#disposed && !this.#ports.has(vm); i++) {
      try {
        return await this.root.child(vm).remove();
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        if (error.errno !== Errno.EBUSY || i === REMOVES) return log.warn("{error}", { error: error.message });
      }
      await new Promise<void>((resolve) => this.clock.after(REMOVE_MS, resolve));
    }
  }

  /** Groups whose ports stay are left. */
  [Symbol.dispose](): void {
    this.#disposed = true;
  }
}
