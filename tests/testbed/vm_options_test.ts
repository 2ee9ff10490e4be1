import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseVmOptions, USAGE, UsageError } from "../../tools/testbed/vm_options.ts";

Deno.test("parseVmOptions() understands every option", () => {
  const line = [
    ..."--socket /s --name n1 --packages jq,socat --copy d".split(" "),
    ...["--exec", "echo 1 && exit 2", "--memory=1024", "--cpus", "4"],
    ...["--kernel", "6.12", "--module-args", "a=1 b=2", "--log", "l"],
  ];
  assertEquals(parseVmOptions(line), {
    help: false,
    exec: "echo 1 && exit 2",
    guest: {
      socket: "/s",
      name: "n1",
      packages: ["jq", "socat"],
      copy: "d",
      memoryMiB: 1024,
      cpus: 4,
      kernel: "6.12",
      moduleArgs: "a=1 b=2",
      logFile: "l",
    },
  });
});

Deno.test("parseVmOptions() of nothing is a shell without network", () => {
  assertEquals(parseVmOptions([]), { help: false, guest: {} });
  assertEquals(parseVmOptions(["--help"]).help, true);
});

Deno.test("parseVmOptions() leaves a command that looks like a number alone", () => {
  assertEquals(parseVmOptions(["--exec", "007"]).exec, "007");
});

Deno.test("parseVmOptions() says in one line what is wrong", () => {
  const wrong: [string[], string][] = [
    [["--bogus"], "unknown option --bogus"],
    [["--bogus=1"], "unknown option --bogus;"],
    [["-x"], "unknown option -x"],
    [["ls"], '"ls" belongs to no option'],
    [["--exec"], "--exec needs a value"],
    [["--exec="], "--exec needs a value"],
    [["--memory", "lots"], "--memory takes a number"],
    [["--memory", "1"], "--memory takes a number"],
    [["--cpus", "0"], "--cpus takes a number"],
    [["--kernel", "5.10"], "--kernel takes one of"],
    [["--name", "a b"], "--name takes letters"],
    [["--name", "x", "--name", "y"], "--name is given 2 times"],
    [["--packages", "a;b"], "--packages:"],
  ];
  for (const [line, message] of wrong) {
    const error = assertThrows(() => parseVmOptions(line), UsageError);
    assertStringIncludes(error.message, message);
    assertEquals(error.message.includes("\n"), false);
  }
});

Deno.test("USAGE names every option and fits a terminal", () => {
  for (const option of ["socket", "exec", "copy", "packages", "kernel"]) {
    assertStringIncludes(USAGE, `--${option} `);
  }
  for (const line of USAGE.split("\n")) {
    assertEquals(line.length <= 80, true, line);
  }
});
