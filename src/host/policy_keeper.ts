/**
 * Keeps the set of policies that holds: read at the start, and again when its files change or somebody asks for it.
 *
 * Theory of operation. All files are read and compiled before anything is swapped, and swapped at once. With any error in them the set
 * stays as it is, and the error is told: in the log, and to who asked. Readings follow one another; what changes meanwhile is read again.
 *
 * @module
 */

import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock } from "../clock.ts";
import { PolicyError, PolicyFiles } from "../policy/files.ts";
import type { Action } from "../policy/model.ts";
import { PolicySet } from "../policy/policy_set.ts";
import { FileWatch } from "./file_watch.ts";

const log = getLogger(["csvn", "policy"]);

/** What happens to circuits that a new set forbids. */
export type OnChange = "cut" | "keep";

/** How a set was swapped, or why not. */
export interface Reload {
  readonly revision: string;
  readonly policies: number;
  /** Is it another set than before? */
  readonly changed: boolean;
  /** Why the set stays as it is: a line for each error. */
  readonly error?: string;
}

/** The set that holds, and how the last reading went. */
export interface KeptPolicies {
  readonly revision: string;
  readonly policies: number;
  readonly paths: readonly string[];
  readonly default: Action;
  /** When it was read; milliseconds since the epoch. */
  readonly since: number;
  /** What is wrong with the files as they are now. */
  readonly error?: string;
}

/** Keeps policy files. */
export class PolicyKeeper implements AsyncDisposable {
  #set: PolicySet;
  #since: number;
  #error: string | undefined;
  #watch: FileWatch | undefined;
  #reading: Promise<Reload> | undefined;
  #next: Promise<Reload> | undefined;

  private constructor(readonly files: PolicyFiles, set: PolicySet, readonly clock: Clock) {
    this.#set = set;
    this.#since = clock.date();
  }

  /** Read the files for the first time. @throws {PolicyError} */
  static async start(
    paths: readonly string[],
    defaultAction: Action,
    clock: Clock = systemClock,
  ): Promise<PolicyKeeper> {
    const files = new PolicyFiles(paths);
    const keeper = new PolicyKeeper(files, new PolicySet(await files.read(), defaultAction), clock);
    const { revision, policies } = keeper.status();
    if (paths.length > 0) {
      log.info("policy revision {revision}: {policies} policies from {paths}", {
        revision,
        policies,
        paths: paths.join(", "),
      });
    }
    return keeper;
  }

  /** The set that holds. */
  get set(): PolicySet {
    return this.#set;
  }

  /** What holds, and how the last reading went. */
  status(): KeptPolicies {
    const { revision, policies, defaultAction } = this.#set;
    return {
      revision,
      policies: policies.length,
      paths: this.files.paths,
      default: defaultAction,
      since: this.#since,
      ...(this.#error !== undefined && { error: this.#error }),
    };
  }

  /** From now on, read again when files change. @param swapped Told after the set was swapped for another one. */
  watch(swapped: () => void): void {
    this.#swapped = swapped;
    const changed = (): void => {
      this.reload("its files changed").catch((error) => log.error("a bug of csvn's: {error}", { error }));
    };
    this.#watch = new FileWatch(this.files.paths, changed, this.clock);
    // They may have changed since they were read.
    changed();
  }

  /** Read again. Who asks while one reading is under way gets the next one's outcome. */
  reload(why: string): Promise<Reload> {
    if (!this.#reading) {
      return this.#reading = this.#reload(why).finally(() => this.#reading = undefined);
    }
    return this.#next ??= this.#reading.then(() => {
      this.#next = undefined;
      return this.reload(why);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watch?.[Symbol.dispose]();
    this.#swapped = (): void => {};
    while (this.#next ?? this.#reading) await (this.#next ?? this.#reading);
  }

  #swapped: () => void = () => {};

  async #reload(why: string): Promise<Reload> {
    let set: PolicySet;
    try {
      set = new PolicySet(await this.files.read(), this.#set.defaultAction);
    } catch (error) {
      if (!(error instanceof PolicyError)) throw error;
      const { revision, policies } = this.#set;
      if (this.#error !== error.message) {
        log.error("policy stays at revision {revision}, since there are errors in it", { revision });
        for (const line of error.message.split("\n")) log.error("{error}", { error: line });
      }
      this.#error = error.message;
      return { revision, policies: policies.length, changed: false, error: error.message };
    }
    const changed = set.revision !== this.#set.revision;
    const { revision, policies } = set;
    if (changed || this.#error !== undefined) {
      log.info("policy revision {revision}, since {why}: {policies} policies", {
        revision,
        why,
        policies: policies.length,
      });
    }
    this.#error = undefined;
    this.#since = this.clock.date();
    this.#set = set;
    if (changed) this.#swapped();
    return { revision, policies: policies.length, changed };
  }
}
