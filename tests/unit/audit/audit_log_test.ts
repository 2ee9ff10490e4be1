import { assert, assertEquals } from "@std/assert";
import { AuditLog } from "../../../src/audit/audit_log.ts";
import { Admission } from "../../../src/circuit/admission.ts";
import type { Attempt, Verdict } from "../../../src/circuit/verdict.ts";
import { Errno } from "../../../src/errno.ts";
import { parseAddress } from "../../../src/net/address.ts";

const attempt = (from = "client", to = "web"): Attempt => ({
  protocol: "tcp",
  from,
  source: { address: parseAddress("10.77.0.2"), port: 40_000 },
  to,
  destination: { address: parseAddress("10.77.0.3"), port: 80 },
});

/** The records that are written meanwhile, without their times. */
async function records(act: (audit: AuditLog) => void): Promise<Record<string, unknown>[]> {
  let text = "";
  {
    await using audit = new AuditLog(
      () => ({
        write: (bytes) => {
          text += new TextDecoder().decode(bytes);
          return Promise.resolve(bytes.length);
        },
        close: () => {},
      }),
      (vm) => vm === "web" ? { namespace: "shop", labels: { app: "web" } } : undefined,
    );
    act(audit);
  }
  return text.split("\n").filter(Boolean).map((line) => {
    const { time, ...rest } = JSON.parse(line);
    assert(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(time), time);
    return rest;
  });
}

const ends = {
  protocol: "tcp",
  from: { vm: "client", address: "10.77.0.2", port: 40_000 },
  to: { vm: "web", namespace: "shop", labels: { app: "web" }, address: "10.77.0.3", port: 80 },
  way: "direct",
};
const allowed: Verdict = { allow: true, reason: "rule 1", revision: "7", details: { rules: ["shop/web ingress[0]"] } };

Deno.test("an opened and closed connection: who, where, by what, how much", async () => {
  const admission = new Admission(attempt(), allowed);
  const got = await records((audit) => {
    audit.opened(admission, { number: 3 });
    audit.closed(admission, { number: 3 }, { sent: 5n, received: undefined, seconds: 1.5, why: "gone" });
  });
  const verdict = { reason: "rule 1", revision: "7", rules: ["shop/web ingress[0]"] };
  assertEquals(got, [
    { event: "opened", circuit: 3, ...ends, ...verdict },
    { event: "closed", circuit: 3, ...ends, ...verdict, why: "gone", sentBytes: 5, seconds: 1.5 },
  ]);
});

Deno.test("a connection that policy cut: by the policy that did", async () => {
  const admission = new Admission(attempt(), allowed);
  admission.current = { allow: false, reason: "no rule", revision: "8" };
  const outcome = { sent: 1n, received: 2n, seconds: 9, why: "policy" } as const;
  assertEquals(await records((audit) => audit.closed(admission, { number: 4 }, outcome)), [{
    event: "closed",
    circuit: 4,
    ...ends,
    reason: "no rule",
    revision: "8",
    why: "policy",
    cut: true,
    sentBytes: 1,
    receivedBytes: 2,
    seconds: 9,
  }]);
});

Deno.test("what was denied, would be, or failed; and what was left out", async () => {
  const got = await records((audit) => {
    audit.denied(new Admission(attempt(), { allow: false, reason: "no" }), Errno.EACCES);
    audit.denied(new Admission(attempt(), { allow: false, reason: "no", onDeny: "drop" }), 0);
    audit.denied(new Admission(attempt(), { allow: true, wouldDeny: true, reason: "no", names: ["a.example"] }), 0);
    audit.failed(new Admission(attempt(), { allow: true, reason: "yes" }), Errno.ETIMEDOUT);
    audit.suppressed("client", 12);
  });
  assertEquals(got, [
    { event: "denied", ...ends, reason: "no", errno: "EACCES" },
    { event: "denied", ...ends, reason: "no" },
    { event: "would-deny", ...ends, reason: "no", names: ["a.example"] },
    { event: "failed", ...ends, reason: "yes", errno: "ETIMEDOUT" },
    { event: "suppressed", who: "client", suppressed: 12 },
  ]);
});

Deno.test("the host's network is no VM, and details cannot pretend to be anything else", async () => {
  const verdict = { allow: true, reason: "yes", details: { event: "denied", from: "nobody", rule: 1 } };
  const [got] = await records((audit) => audit.opened(new Admission(attempt("host"), verdict), { number: 1 }));
  assertEquals([got!.event, got!.rule, got!.way], ["opened", 1, "host"]);
  assertEquals(got!.from, { address: "10.77.0.2", port: 40_000 });
});
