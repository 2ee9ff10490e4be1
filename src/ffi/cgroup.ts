import { checked } from "../errno.ts";
import type { Library } from "./library.ts";

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** A control group (version 2), by its path. What is asked of it is done by the library: Deno lets nobody write there but who may do everything. */
export class Cgroup {
  constructor(readonly library: Library, readonly path: string) {}

  /** A group in it. */
  child(name: string): Cgroup {
    return new Cgroup(this.library, `${this.path}/${name}`);
  }

  /** Make it, unless it is there: whether it was not. @throws {SystemError} */
  async make(): Promise<boolean> {
    const path = encode(this.path);
    const rc = await this.library.symbols.csvn_cgroup_make(path, path.length);
    return checked(`make the control group ${this.path}`, rc) === 1;
  }

  /** Write to one of its files. @throws {SystemError} ENOENT: it is no group, or lacks the controller; EINVAL, EBUSY, … */
  async write(file: string, text: string): Promise<void> {
    const path = encode(`${this.path}/${file}`);
    const bytes = encode(text);
    const rc = await this.library.symbols.csvn_cgroup_write(path, path.length, bytes, bytes.length);
    checked(`write "${text}" to ${this.path}/${file}`, rc);
  }

  /** Remove it. @throws {SystemError} EBUSY: a process is in it. */
  async remove(): Promise<void> {
    const path = encode(this.path);
    checked(`remove the control group ${this.path}`, await this.library.symbols.csvn_cgroup_remove(path, path.length));
  }
}
