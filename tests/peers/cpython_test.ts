/**
 * CPython's own tests of sockets and what is built on them, over the guest's own stack and over circuits that have both ends in the
 * guest: what passes over the one must pass over the other, but for docs/programs.md's list.
 *
 *     deno task test:peers
 *
 * @module
 */

import { assertEquals, assertGreater } from "@std/assert";
import type { Guest } from "../../tools/testbed/guest.ts";
import { bootGuests } from "../support/guests.ts";

/** Test modules, the quick ones first. */
const MODULES = [
  "test_select",
  "test_selectors",
  "test_poll",
  "test_epoll",
  "test_httplib",
  "test_httpservers",
  "test_ftplib",
  "test_poplib",
  "test_imaplib",
  "test_smtplib",
  "test_socketserver",
  "test_urllib2_localnet",
  "test_xmlrpc",
  "test_docxmlrpc",
  "test_wsgiref",
  "test_robotparser",
  "test_ssl",
  "test_socket",
  "test_asyncio",
];

/** Modules that spell the loopback's address out where it is no socket's: in certificates, in what a request says of its host. */
const NAMED_ONLY = ["test_ssl", "test_ftplib", "test_wsgiref"];

/** What ends otherwise over circuits than over lo, and why. */
const DIFFERENCES: Record<string, string> = {
  "test.test_ftplib.TestFTPClass.test_abort": "it sends ABOR with MSG_OOB: there is no urgent data over a circuit",
};

/** How often a module is run again over circuits when something in it went otherwise: some tests count milliseconds. */
const AGAIN = 2;

/** Outcomes by test, from the file that `--junit-xml` writes. */
const REPORT = `
import json, sys, xml.etree.ElementTree as tree
found = {}
for case in tree.parse(sys.argv[1]).iter("testcase"):
    kinds = {child.tag for child in case}
    found[case.get("name")] = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
print(json.dumps(found))
`;

/** A copy of the tests whose hosts are the circuit's addresses; $1 and $2 are those. */
const PREPARE = `
set -e
mkdir -p /tmp/circuits
cp -r /usr/lib/python3.13/test /tmp/circuits/test
cd /tmp/circuits/test
for name in support ${
  MODULES.filter((name) => !NAMED_ONLY.includes(name)).join(" ")
}; do for file in $name $name.py; do [ -e $file ] && echo $file; done; done |
  xargs -I{} find {} -name '*.py' | xargs sed -i -e "s/127\\.0\\.0\\.1/$1/g" -e "/'::1', f(/! s/'::1'/'$2'/g" -e "s/\\"::1\\"/\\"$2\\"/g"
# Two tests of asyncio's expect the loopback's address by a pattern.
sed -i "s/r'::(0[^']*1'/'$2'/" test_asyncio/test_base_events.py
# test_handshake_timeout listens by name and connects by this.
sed -i "s/host = \\"127\\.0\\.0\\.1\\"/host = \\"$1\\"/" test_ssl.py
`;

async function outcomes(guest: Guest, module: string, where: "lo" | "circuits"): Promise<Record<string, string>> {
  const path = where === "lo" ? "" : "PYTHONPATH=/tmp/circuits ";
  const report = `/tmp/${where}-${module}.xml`;
  const hosts = where === "lo" ? "127.0.0.1 localhost\\n::1 localhost" : "$A localhost\\n$B localhost";
  const { stdout, stderr } = await guest.run(
    `. /tmp/addresses; printf "${hosts}\\n" >/etc/hosts; cd /tmp; rm -f ${report}; ` +
      `${path}timeout -k 10 2400 python3 -m test -uall,-urlfetch,-largefile --timeout 900 --junit-xml ${report} ${module} >/tmp/${where}-${module}.log 2>&1; ` +
      `python3 /tmp/report.py ${report} || tail -n 30 /tmp/${where}-${module}.log >&2`,
    { timeoutMs: 2_500_000 },
  );
  if (stdout === "") throw new Error(`${module} over ${where} came to no end:\n${stderr}`);
  return JSON.parse(stdout);
}

Deno.test("CPython's tests end over circuits as over lo", async (t) => {
  await using vms = await bootGuests(["python"], {
    guest: { packages: ["libpython3.13-testsuite"], moduleArgs: "hairpin=1", memoryMiB: 1536 },
  });
  const guest = vms.guests["python"]!;
  const { stdout } = await guest.run("ip -o addr show dev csvn0 scope global", { check: true });
  const [a, b] = [...stdout.matchAll(/inet6? ([0-9a-f.:]+)\//g)].map(([, address]) => address!);
  await guest.run("cat >/tmp/report.py", { stdin: REPORT, check: true });
  await guest.run(`echo "A=${a} B=${b}" >/tmp/addresses; set -- ${a} ${b}; ${PREPARE}`, { check: true });
  const connects = async (): Promise<number> =>
    Number((await guest.run("cat /sys/class/net/csvn0/csvn/connects", { check: true })).stdout);

  const only = Deno.env.get("CSVN_PEERS")?.split(",");
  for (const module of MODULES.filter((name) => only?.includes(name) ?? true)) {
    await t.step(module, async () => {
      const lo = await outcomes(guest, module, "lo");
      const before = await connects();
      let differ: string[] = Object.keys(lo);
      let circuits: Record<string, string> = {};
      for (let i = 0; i <= AGAIN && differ.length > 0; i++) {
        circuits = await outcomes(guest, module, "circuits");
        // deno-lint-ignore no-console -- it takes long: what it has come to so far
        console.log(
          `${module}: ${differ.filter((name) => lo[name] === "passed" && circuits[name] !== "passed").join(", ")}`,
        );
        differ = Object.keys(lo).filter((name) =>
          lo[name] !== circuits[name] && lo[name] === "passed" && !(name in DIFFERENCES)
        );
      }
      assertEquals(differ.map((name) => `${name}: ${lo[name]} over lo, ${circuits[name]} over circuits`), []);
      assertGreater(Object.values(circuits).filter((outcome) => outcome === "passed").length, 0);
      // deno-lint-ignore no-console -- what it came to
      console.log(`${module}: ${Object.keys(lo).length} tests, ${await connects() - before} circuits`);
      assertEquals((await guest.run("dmesg | grep -E 'BUG|Oops|WARNING'")).stdout, "");
    });
  }
});
