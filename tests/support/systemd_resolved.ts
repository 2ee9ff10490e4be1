/**
 * systemd-resolved, the real one, as a guest may have it: unpacked from Debian's package, in a small root of its own, without systemd and without D-Bus.
 * The machine's own resolver and its configuration are left alone.
 *
 * @module
 */

import { ensureHostTools } from "../../tools/testbed/host.ts";
import { ensureHostProgram } from "../../tools/testbed/host_programs.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { until } from "./until.ts";

const PROGRAM = "usr/lib/systemd/systemd-resolved";

/** Its root: the package's files, and what it needs to be found. Arguments: the package's root, the configuration, where its socket is to be. */
const IN_A_ROOT = `set -e
root=$(mktemp -d)
mount -t tmpfs csvn-test "$root"
cd "$root"
mkdir -p usr etc/systemd run/systemd/resolve proc sys dev tmp
mount --bind "$1/usr" usr
for name in bin sbin lib lib64; do ln -s usr/$name $name; done
for name in proc sys dev; do mount --rbind /$name $name; done
mount --bind "$3" run/systemd/resolve
cp "$2" etc/systemd/resolved.conf
echo 'systemd-resolve:x:990:990::/:/bin/false' >etc/passwd
echo 'systemd-resolve:x:990:' >etc/group
chown 990:990 run/systemd/resolve
exec chroot . /${PROGRAM}`;

/** What became of a lookup: the first address, or an error's name. */
type Found = string;

interface VarlinkReply {
  readonly error?: string;
  readonly parameters?: {
    readonly addresses?: readonly { readonly family: number; readonly address: readonly number[] }[];
  };
}

/** One that runs; disposal ends it. */
export class SystemdResolved implements AsyncDisposable {
  private constructor(readonly directory: string, readonly child: Deno.ChildProcess, readonly log: Promise<string>) {}

  /**
   * Start it.
   *
   * @param nameserver Whom it asks.
   * @param domains What it searches for names of a single label.
   * @param stub Where it answers programs that speak DNS, at port 53.
   */
  static async start(nameserver: string, domains: readonly string[], stub: string): Promise<SystemdResolved> {
    await ensureHostTools(["unshare", "setpriv"], stderrProgress);
    const packages = { suite: "trixie", packages: ["systemd-resolved"] } as const;
    const program = (await ensureHostProgram(packages, PROGRAM, stderrProgress)).at(-1)!;
    const directory = await Deno.makeTempDir({ prefix: "csvn-test-" });
    await Deno.mkdir(`${directory}/run`);
    const settings = [
      ...[`DNS=${nameserver}`, "FallbackDNS=", `Domains=${domains.join(" ")}`, "DNSSEC=no", "DNSOverTLS=no"],
      ...["LLMNR=no", "MulticastDNS=no", "ReadEtcHosts=no", "DNSStubListener=no", `DNSStubListenerExtra=${stub}`],
    ];
    await Deno.writeTextFile(`${directory}/resolved.conf`, `[Resolve]\n${settings.join("\n")}\n`);
    const child = new Deno.Command("unshare", {
      args: [
        ...["--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL", "sh", "-c", IN_A_ROOT, "sh"],
        ...[program.slice(0, -PROGRAM.length - 1), `${directory}/resolved.conf`, `${directory}/run`],
      ],
      env: { SYSTEMD_LOG_TARGET: "console" },
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const resolved = new SystemdResolved(directory, child, child.stderr.text());
    let ended = false;
    child.status.then(() => ended = true);
    await until("systemd-resolved", async () => {
      if (ended) throw new Error(`systemd-resolved has ended: ${await resolved.log}`);
      return await Deno.stat(resolved.#socket).then(() => true, () => false);
    });
    return resolved;
  }

  /** Have it look an IPv4 address up, by its own protocol, as libnss-resolve does: then it searches its domains itself. */
  async lookup(name: string): Promise<Found> {
    using connection = await Deno.connect({ transport: "unix", path: this.#socket });
    const call = { method: "io.systemd.Resolve.ResolveHostname", parameters: { name, family: 2 } };
    const writer = connection.writable.getWriter();
    await writer.write(new TextEncoder().encode(`${JSON.stringify(call)}\0`));
    let text = "";
    for await (const part of connection.readable.pipeThrough(new TextDecoderStream())) {
      text += part;
      if (text.endsWith("\0")) break;
    }
    const { error, parameters } = JSON.parse(text.slice(0, -1)) as VarlinkReply;
    return error ?? parameters!.addresses![0]!.address.join(".");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGTERM");
    await this.child.status;
    await this.log;
    await Deno.remove(this.directory, { recursive: true });
  }

  get #socket(): string {
    return `${this.directory}/run/io.systemd.Resolve`;
  }
}
