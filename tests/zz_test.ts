import { FakeDriver } from "./support/fake_driver.ts";
import { startTestSwitch } from "./support/test_switch.ts";
import { serveTcp } from "./support/host_server.ts";
import { parseAddress } from "../src/net/address.ts";
Deno.test("x", async () => {
  await using server = serveTcp("127.77.1.9", async (connection) => {
        const buffer = new Uint8Array(10);
        console.log("accepted"); await connection.read(buffer); console.log("read"); connection.close();
  });
  await using net = await startTestSwitch({ allowHost: [{ address: parseAddress("127.77.1.9"), port: server.port }] });
  await using vm = await FakeDriver.boot(net.socket);
  console.log("booted");
  const p = vm.connect("10.77.0.1", server.port);
  const c = await Promise.race([p, new Promise((r) => setTimeout(() => r("late"), 5000))]);
  console.log(String(c), JSON.stringify(net.csvn.status().plane));
  console.log(net.log.join("\n"));
  if (typeof c === "object") { (c as any).write(Uint8Array.of(1)); (c as any).ring(); await new Promise((r) => setTimeout(r, 1000)); console.log(JSON.stringify(net.csvn.status().plane));}
});
