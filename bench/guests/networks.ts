/**
 * The networks that are compared: circuits, and what users have today.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { Guest, type GuestOptions } from "../../tools/testbed/guest.ts";
import { ensureHostProgram } from "../../tools/testbed/host_programs.ts";
import { stderrProgress } from "../../tools/testbed/progress.ts";
import { HostSide } from "./host.ts";
import { ipRoute, type Network, type NetworkKind, PORTS, type Route } from "./network.ts";

const mod = fromFileUrl(new URL("../../mod.ts", import.meta.url));
const NET = { gateway: "10.88.0.1", client: "10.88.0.2", server: "10.88.0.3" } as const;
/** vsock's ids of the guests, and of the host. */
const CID = { host: 2, client: 43, server: 44 } as const;
/** vhost-device-vsock 0.3.0 stalls or loses bytes when 4 KiB and more are written at once. */
const VSOCK_PIECE = 3584;
/** passt listens on the host for its guest's ports, beside the host's own. */
const PASST_SHIFT = 20_000;
/** What every guest has beside the usual programs. */
const PACKAGES = ["wrk"];

type Role = "client" | "server";
type Extra = (role: Role) => Omit<GuestOptions, "name">;

/** A guest of the bench: the same image, memory and processors for all networks. */
async function boot(name: string, host: HostSide, options: Omit<GuestOptions, "name">): Promise<Guest> {
  return await Guest.boot({
    ...options,
    name,
    packages: PACKAGES,
    namespace: host.namespace,
    progress: stderrProgress,
  });
}

/** Boot both guests, after `prepare` has made the host's side. */
async function pair(
  who: string,
  prepare: (host: HostSide) => Promise<Extra>,
  routes: Pick<Network, "toGuest" | "mapped"> & { toHost?: Route | ((host: HostSide) => Route) },
  settle?: (guest: Guest, role: Role) => Promise<void>,
): Promise<Network> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await HostSide.make(who));
  const extra = await prepare(host);
  // One after the other: who listens for the other's connection comes first.
  const server = stack.use(await boot("server", host, extra("server")));
  const client = stack.use(await boot("client", host, extra("client")));
  await settle?.(server, "server");
  await settle?.(client, "client");
  const { toHost, ...rest } = routes;
  const kept = stack.move();
  return {
    ...rest,
    ...(toHost && { toHost: typeof toHost === "function" ? toHost(host) : toHost }),
    client,
    server,
    host,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** A guest with a virtio NIC on one of QEMU's netdevs, and without csvn's driver. */
function nic(netdev: readonly string[], device = ""): Omit<GuestOptions, "name"> {
  return { module: false, extraQemuArgs: [...netdev, "-device", `virtio-net-pci,netdev=net${device}`] };
}

async function configureNic(guest: Guest, role: Role, mtu?: number): Promise<void> {
  const commands = [
    "modprobe virtio_net",
    "for i in $(seq 100); do [ -e /sys/class/net/eth0 ] && break; sleep 0.05; done",
    ...(mtu === undefined ? [] : [`ip link set eth0 mtu ${mtu}`]),
    `ip addr add ${NET[role]}/24 dev eth0`,
    "ip link set eth0 up",
    `ip route add default via ${NET.gateway}`,
  ];
  await guest.run(commands.join(" && "), { check: true });
}

const circuits: NetworkKind = {
  who: "csvn",
  make: () =>
    pair("csvn", async (host) => {
      const vms = (["client", "server"] as const).flatMap((role, i) => [
        "--vm",
        `name=${role},socket=${host.path(`${role}.sock`)},address=10.77.0.${10 * (i + 1)}`,
      ]);
      const open = Object.values(PORTS).flatMap((port) => ["--allow-host", `127.0.0.1:${port}`]);
      host.start("switch", [Deno.execPath(), "run", "-A", mod, ...vms, ...open]);
      await host.appears("server.sock", "switch");
      await host.appears("client.sock", "switch");
      return (role) => ({ socket: host.path(`${role}.sock`) });
    }, { toGuest: ipRoute("10.77.0.20"), toHost: ipRoute("10.77.0.1"), mapped: true }),
};

const tap: NetworkKind = {
  who: "tap",
  make: () =>
    pair(
      "tap",
      async (host) => {
        const links = (["client", "server"] as const).map((role) =>
          `ip tuntap add ${role} mode tap && ip link set ${role} master bridge && ip link set ${role} up`
        );
        const bridge =
          `ip link add bridge type bridge && ip addr add ${NET.gateway}/24 dev bridge && ip link set bridge up`;
        await host.run([bridge, ...links].join(" && "));
        return (role) => nic(["-netdev", `tap,id=net,ifname=${role},script=no,downscript=no`], `,mac=${mac(role)}`);
      },
      { toGuest: ipRoute(NET.server), toHost: ipRoute(NET.gateway) },
      configureNic,
    ),
};

const passt: NetworkKind = {
  who: "passt",
  make: () =>
    pair(
      "passt",
      async (host) => {
        const command = await ensureHostProgram(
          { suite: "trixie", backports: true, packages: ["passt"] },
          "usr/bin/passt.avx2",
          stderrProgress,
        );
        // It copies its guest's addresses and routes from an interface.
        await host.run(
          "ip link add cable type veth peer name end && ip addr add 10.99.0.2/24 dev cable && " +
            "ip link set end up && ip link set cable up && ip route add default via 10.99.0.1",
        );
        const forward = Object.values(PORTS).map((port) => `${port + PASST_SHIFT}:${port}`).join(",");
        for (const role of ["server", "client"] as const) {
          host.start(`passt-${role}`, [
            ...command,
            ...["--vhost-user", "--foreground", "--runas", "0", "--ipv4-only"],
            ...["--socket", host.path(`${role}.passt`), "--address", NET[role], "--netmask", "24"],
            ...["--gateway", NET.gateway],
            ...(role === "server" ? ["--tcp-ports", forward, "--udp-ports", forward] : []),
          ]);
          await host.appears(`${role}.passt`, `passt-${role}`);
        }
        return (role) =>
          nic(
            [
              "-chardev",
              `socket,id=passt,path=${host.path(`${role}.passt`)}`,
              "-netdev",
              "vhost-user,id=net,chardev=passt",
            ],
            `,mac=${mac(role)}`,
          );
      },
      // The gateway is the host itself, on which passt listens for its guest's ports.
      { toGuest: ipRoute(NET.gateway, PASST_SHIFT), toHost: ipRoute(NET.gateway) },
      configureNic,
    ),
};

const stream: NetworkKind = {
  who: "stream",
  make: () =>
    pair(
      "stream",
      (host) =>
        Promise.resolve((role) =>
          nic(
            [
              "-netdev",
              `stream,id=net,server=${role === "server" ? "on" : "off"},addr.type=unix,addr.path=${
                host.path("stream")
              }`,
            ],
            `,host_mtu=65520,mac=${mac(role)}`,
          )
        ),
      { toGuest: ipRoute(NET.server) },
      (guest, role) => configureNic(guest, role, 65_520),
    ),
};

const vsock: NetworkKind = {
  who: "vsock",
  make: () =>
    pair(
      "vsock",
      async (host) => {
        const command = await ensureHostProgram(
          { suite: "forky", packages: ["vhost-device-vsock"] },
          "usr/bin/vhost-device-vsock",
          stderrProgress,
        );
        const vms = (["client", "server"] as const).flatMap((role) => [
          "--vm",
          `guest-cid=${CID[role]},socket=${host.path(`${role}.sock`)},uds-path=${host.path(`${role}.vsock`)}`,
        ]);
        host.start("vsock", [...command, ...vms]);
        await host.appears("client.sock", "vsock");
        await host.appears("server.sock", "vsock");
        return (role) => ({
          module: false,
          extraQemuArgs: [
            ...["-chardev", `socket,id=vsock,path=${host.path(`${role}.sock`)}`],
            ...["-device", "vhost-user-vsock-pci,chardev=vsock"],
          ],
        });
      },
      {
        toGuest: {
          talk: `vsock:${CID.server}:${PORTS.talk}`,
          talkServer: `vsock:${0xffffffff}:${PORTS.talk}`,
          piece: VSOCK_PIECE,
        },
        toHost: (host) => ({
          talk: `vsock:${CID.host}:${PORTS.talk}`,
          talkServer: `unix:${host.path(`client.vsock_${PORTS.talk}`)}`,
          piece: VSOCK_PIECE,
        }),
      },
      async (guest) => {
        await guest.run("modprobe vmw_vsock_virtio_transport", { check: true });
      },
    ),
};

const lo: NetworkKind = {
  who: "lo",
  async make(): Promise<Network> {
    await using stack = new AsyncDisposableStack();
    const host = stack.use(await HostSide.make("lo"));
    const guest = stack.use(await boot("alone", host, { module: false }));
    const kept = stack.move();
    return {
      client: guest,
      server: guest,
      host,
      toGuest: ipRoute("127.0.0.1"),
      [Symbol.asyncDispose]: () => kept.disposeAsync(),
    };
  },
};

function mac(role: Role): string {
  return `52:54:00:77:00:0${role === "client" ? 2 : 3}`;
}

/** All of them, in the order of measuring. */
export const NETWORKS: readonly NetworkKind[] = [circuits, tap, passt, stream, vsock, lo];
