/**
 * Control groups of ports: each VM's in one of its own, by the VM's name, in a subtree that an operator has delegated. So the host's CPUs and memory are parted between
 * VMs as between any other processes.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../clock.ts";
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
  /** Make it, unless it is there: whether it was not. */
  make(): Promise<boolean>;
  write(file: string, text: string): Promise<void>;
  remove(): Promise<void>;
}

/** Milliseconds between two tries to remove a group, whose process takes its time to end; and how many there are. */
const REMOVE_MS = 100;
const REMOVES = 600;

/** A file of a group that says what is in it may have. */
interface GroupFile {
  readonly controller: string;
  readonly file: string;
  /** What is configured. */
  readonly text: string | undefined;
  /** What it has where nothing is. */
  readonly otherwise: string;
}

function files({ cpuWeight, memoryMax, cpus }: PortResources): GroupFile[] {
  return [
    { controller: "cpu", file: "cpu.weight", text: cpuWeight?.toString(), otherwise: "100" },
    { controller: "memory", file: "memory.max", text: memoryMax?.toString(), otherwise: "max" },
    // An empty line: where no byte is written, the kernel does nothing.
    { controller: "cpuset", file: "cpuset.cpus", text: cpus, otherwise: "\n" },
  ];
}

/** The groups of all VMs. */
export class PortGroups implements AsyncDisposable {
  /** Ports in each group. */
  readonly #ports = new Map<string, number>();
  /** What is done to each VM's group: one thing after the other, or it might be removed when it has just been found. */
  readonly #turns = new Map<string, Promise<void>>();
  /** VMs whose groups are to be removed. */
  readonly #leaving = new Set<string>();
  readonly #waiting = new Map<Timer, () => void>();
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
    const needed = all.flatMap(files).filter(({ text }) => text !== undefined);
    for (const controller of new Set(needed.map(({ controller }) => controller))) {
      await root.write("cgroup.subtree_control", `+${controller}`);
    }
    // There is nothing to be written yet, but it must be there.
    await root.write("cgroup.procs", "");
    return new PortGroups(root, clock);
  }

  /** Put a VM's port into the VM's group. @throws {SystemError} */
  async enter(vm: string, pid: number, resources: PortResources): Promise<void> {
    this.#ports.set(vm, (this.#ports.get(vm) ?? 0) + 1);
    await this.#turn(vm, async () => {
      const group = this.root.child(vm);
      // One that is found may have been an earlier switch's, or of a VM that may have something else.
      const made = await group.make();
      for (const { file, text, otherwise } of files(resources)) {
        if (text !== undefined) await group.write(file, text);
        else if (!made) await this.#reset(group, file, otherwise);
      }
      await group.write("cgroup.procs", `${pid}`);
    });
  }

  /** A port of a VM, which was put there, is about to end. */
  async leave(vm: string): Promise<void> {
    const left = (this.#ports.get(vm) ?? 0) - 1;
    if (left > 0) return void this.#ports.set(vm, left);
    this.#ports.delete(vm);
    this.#leaving.add(vm);
    for (let i = 0; !await this.#remove(vm, i >= REMOVES); i++) await this.#wait();
  }

  /** Groups whose ports have not ended are left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    for (const [timer, resolve] of this.#waiting) {
      timer.cancel();
      resolve();
    }
    this.#waiting.clear();
    for (const vm of [...this.#leaving]) await this.#remove(vm, false);
    await Promise.all(this.#turns.values());
  }

  /** A file has what it has where nothing is configured, if there is such a file. */
  async #reset(group: Group, file: string, text: string): Promise<void> {
    try {
      await group.write(file, text);
    } catch (error) {
      if (!(error instanceof SystemError && error.errno === Errno.ENOENT)) throw error;
    }
  }

  /** Remove a VM's group, unless somebody is in it. @returns Is nothing more to be done? */
  #remove(vm: string, last: boolean): Promise<boolean> {
    return this.#turn(vm, async () => {
      if (!this.#ports.has(vm) && this.#leaving.has(vm)) {
        try {
          await this.root.child(vm).remove();
        } catch (error) {
          if (!(error instanceof SystemError)) throw error;
          const busy = error.errno === Errno.EBUSY;
          if (busy && !last && !this.#disposed) return false;
          if (!busy || !this.#disposed) log.warn("{error}", { error: error.message });
        }
      }
      this.#leaving.delete(vm);
      return true;
    });
  }

  #wait(): Promise<void> {
    if (this.#disposed) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.clock.after(REMOVE_MS, () => {
      this.#waiting.delete(timer);
      resolve();
    });
    this.#waiting.set(timer, resolve);
    return promise;
  }

  /** Do something to a VM's group when what was begun before is done. */
  #turn<T>(vm: string, act: () => Promise<T>): Promise<T> {
    const mine = (this.#turns.get(vm) ?? Promise.resolve()).then(act);
    const over = mine.then(() => {}, () => {}).then(() => {
      if (this.#turns.get(vm) === over) this.#turns.delete(vm);
    });
    this.#turns.set(vm, over);
    return mine;
  }
}
