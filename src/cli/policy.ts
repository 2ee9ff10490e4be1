/**
 * What `deno run -A mod.ts policy …` does.
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is the program's own output

import { resolve } from "@std/path";
import { type Config, ConfigError, policyOptions } from "../config/config.ts";
import type { Asked, PolicyCommand } from "../config/policy_command_line.ts";
import type { Preview } from "../host/policy_control.ts";
import type { KeptPolicies, Reload } from "../host/policy_keeper.ts";
import { configuredWorkloads } from "../host/switch.ts";
import { CaseError, parseCases, runCases } from "../policy/cases.ts";
import { type Change, diff, formatChange } from "../policy/diff.ts";
import { explain, type Explanation, formatExplanation } from "../policy/explain.ts";
import { PolicyError, PolicyFiles } from "../policy/files.ts";
import { PolicySet } from "../policy/policy_set.ts";
import { parseQuestion } from "../policy/question.ts";
import { ask } from "./api.ts";

const FOUND = 1;

/**
 * Run a command.
 *
 * @param readConfig Reads the configuration file, if there is one, and joins it with what the command line says.
 * @returns The exit code: 1 when `check` found errors, `test` mismatches or `diff` changes.
 */
export async function policy(
  command: PolicyCommand,
  readConfig: (config: Config, file: string | undefined) => Promise<Config>,
): Promise<number> {
  const configured = (asked: Extract<Asked, { api?: undefined }>): Promise<Config> =>
    readConfig(asked.config, asked.file);
  switch (command.name) {
    case "policy check":
      return await check(command.paths);
    case "policy test":
      return await test(command.files);
    case "policy explain": {
      const { asked, from, to, json } = command;
      const explanation = asked.api === undefined
        ? await explainConfigured(await configured(asked), from, to)
        : await ask<Explanation>(asked.api, `/v1/policy/explain?${new URLSearchParams({ from, to })}`);
      print(explanation, json, formatExplanation);
      return 0;
    }
    case "policy diff": {
      const { asked, before, after, json } = command;
      const preview = asked.api === undefined
        ? await diffConfigured(await configured(asked), before!, after)
        : await ask<Preview>(asked.api, "/v1/policy/diff", {
          method: "POST",
          body: JSON.stringify({ paths: [resolve(after)] }),
        });
      print(preview, json, formatPreview);
      return preview.changes.length + preview.cut.length > 0 ? FOUND : 0;
    }
    case "policy show":
      print(await ask<KeptPolicies>(command.api, "/v1/policy"), command.json, formatKept);
      return 0;
    case "policy reload": {
      const reload = await ask<Reload>(command.api, "/v1/policy/reload", { method: "POST" });
      if (reload.error !== undefined) throw new PolicyError(reload.error);
      console.log(
        `policy revision ${reload.revision}: ${reload.policies} policies${reload.changed ? "" : ", as before"}`,
      );
      return 0;
    }
  }
}

function print<T>(value: T, json: boolean, format: (value: T) => string): void {
  console.log(json ? JSON.stringify(value, null, 2) : format(value).trimEnd());
}

async function check(paths: readonly string[]): Promise<number> {
  try {
    const policies = await new PolicyFiles(paths).read();
    console.log(`${policies.length} policies, no errors`);
    return 0;
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error;
    console.error(error.message);
    return FOUND;
  }
}

async function test(files: readonly string[]): Promise<number> {
  let [passed, failed] = [0, 0];
  for (const file of files) {
    let text: string;
    try {
      text = await Deno.readTextFile(file);
    } catch (error) {
      throw new CaseError(`cannot read ${file}: ${(error as Error).message}`);
    }
    const results = runCases(parseCases(file, text));
    for (const mismatch of results.mismatches) console.log(mismatch);
    passed += results.passed;
    failed += results.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? FOUND : 0;
}

async function explainConfigured(config: Config, from: string, to: string): Promise<Explanation> {
  const { paths = [], default: defaultAction = "allow" } = policyOptions(config);
  const set = new PolicySet(await new PolicyFiles(paths).read(), defaultAction);
  return explain(set, parseQuestion(from, to, configuredWorkloads(config)));
}

async function diffConfigured(config: Config, before: string, after: string): Promise<Preview> {
  if (config.vms.length === 0) {
    throw new ConfigError("policy diff needs the VMs, by --config FILE or --vm, or --api PATH");
  }
  const defaultAction = config.defaultAction ?? "allow";
  const [old, next] = await Promise.all(
    [before, after].map(async (path) => new PolicySet(await new PolicyFiles([path]).read(), defaultAction)),
  );
  const changes: Change[] = [...diff(old!, next!, configuredWorkloads(config))];
  return { revisionBefore: old!.revision, revisionAfter: next!.revision, changes, omitted: 0, cut: [] };
}

function formatPreview({ revisionBefore, revisionAfter, changes, omitted, cut }: Preview): string {
  const lines = [`policy revision ${revisionBefore} -> ${revisionAfter}`];
  if (changes.length === 0) lines.push("no connection between the VMs, or with the outside, changes");
  lines.push(...changes.map(formatChange));
  if (omitted > 0) lines.push(`and ${omitted} more changes`);
  for (const { circuit, protocol, from, source, to, destination, reason } of cut) {
    lines.push(`cut circuit ${circuit}: ${from} ${source} -> ${to} ${destination}/${protocol}: ${reason}`);
  }
  return lines.join("\n");
}

function formatKept({ revision, policies, paths, default: action, since, error }: KeptPolicies): string {
  const lines = [
    `revision ${revision}: ${policies} policies from ${paths.join(", ") || "no file"}, read ${
      new Date(since).toISOString()
    }`,
    `VMs that no policy selects: ${action === "allow" ? "not isolated" : "isolated"}`,
  ];
  if (error !== undefined) lines.push("errors in the files as they are now, which therefore do not hold:", error);
  return lines.join("\n");
}
