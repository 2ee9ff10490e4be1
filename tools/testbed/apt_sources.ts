/**
 * Where this machine gets Debian packages from, read out of apt's own
 * configuration in both of its formats (sources.list(5)).
 */
import { join } from "@std/path";
import { TestbedError } from "./errors.ts";

/** One archive of one suite. */
export interface AptSource {
  /** Base address of the archive. */
  uri: string;
  /** Suite or code name, as written. */
  suite: string;
  /** Components, such as `main`. */
  components: string[];
  /** Path of the keyring that it is signed by, if one is named. */
  signedBy?: string;
}

/** Parse the one-line format: `deb [options] uri suite component...`. */
export function parseSourcesList(text: string): AptSource[] {
  const sources: AptSource[] = [];
  for (const raw of text.split("\n")) {
    const line = raw.replace(/#.*/, "").trim();
    const match = /^deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s*(.*)$/.exec(line);
    if (match === null) continue;
    const [, options = "", uri = "", suite = "", components = ""] = match;
    const source: AptSource = {
      uri,
      suite,
      components: components.split(/\s+/).filter((word) => word !== ""),
    };
    const signed = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    if (signed?.startsWith("/")) source.signedBy = signed;
    sources.push(source);
  }
  return sources;
}

/** Parse the deb822 format: stanzas of `Field: value`. */
export function parseDeb822(text: string): AptSource[] {
  const sources: AptSource[] = [];
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  for (const stanza of lines.join("\n").split(/\n\s*\n/)) {
    const fields = new Map<string, string>();
    let last: string | undefined;
    for (const line of stanza.split("\n")) {
      const match = /^([A-Za-z-]+)\s*:\s*(.*)$/.exec(line);
      if (match !== null) {
        last = match[1]!.toLowerCase();
        fields.set(last, match[2]!.trim());
      } else if (last !== undefined && /^\s+\S/.test(line)) {
        fields.set(last, `${fields.get(last)} ${line.trim()}`.trim());
      }
    }
    const words = (field: string): string[] => (fields.get(field) ?? "").split(/\s+/).filter((word) => word !== "");
    if (!words("types").includes("deb")) continue;
    if (/^(no|false|0|off)$/i.test(fields.get("enabled") ?? "yes")) continue;
    const signed = words("signed-by")[0];
    for (const uri of words("uris")) {
      for (const suite of words("suites")) {
        const source: AptSource = {
          uri,
          suite,
          components: words("components"),
        };
        if (signed?.startsWith("/")) source.signedBy = signed;
        sources.push(source);
      }
    }
  }
  return sources;
}

/**
 * The source that serves Debian's main archive: that of the host's own suite,
 * not its updates or security suites, which live elsewhere.
 */
export function selectMirror(
  sources: readonly AptSource[],
  codename: string,
): AptSource | undefined {
  const usable = sources.filter((source) =>
    /^(https?|ftp|file|copy|mirror\+file|mirror\+https?):/.test(source.uri) &&
    source.components.includes("main")
  );
  return usable.find((source) => source.suite === codename) ??
    usable.find((source) =>
      /^(stable|oldstable|testing|unstable|sid|bookworm|trixie|forky)$/
        .test(source.suite) && /\/debian\/?$/.test(source.uri)
    );
}

/** All sources in apt's configuration below `root` (normally `/etc/apt`). */
export async function readAptSources(root = "/etc/apt"): Promise<AptSource[]> {
  const sources: AptSource[] = [];
  const read = async (path: string): Promise<void> => {
    const text = await Deno.readTextFile(path).catch(() => "");
    const parse = path.endsWith(".sources") ? parseDeb822 : parseSourcesList;
    sources.push(...parse(text));
  };
  await read(join(root, "sources.list"));
  const parts = join(root, "sources.list.d");
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(parts)) names.push(entry.name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const name of names.sort()) {
    if (/\.(list|sources)$/.test(name)) await read(join(parts, name));
  }
  return sources;
}

/** The value of a field of os-release(5), without its quotes. */
export function osReleaseField(text: string, field: string): string {
  const match = new RegExp(`^${field}=(.*)$`, "m").exec(text);
  return (match?.[1] ?? "").replace(/^["']|["']$/g, "");
}

/** First real address in a `mirror+file:` list (apt-transport-mirror(1)). */
async function followMirrorList(source: AptSource): Promise<AptSource> {
  const path = /^mirror\+file:(?:\/\/)?(\/.*)$/.exec(source.uri)?.[1];
  if (path === undefined) return source;
  const text = await Deno.readTextFile(path);
  const uri = text.split("\n").map((line) => line.split(/[\s#]/)[0]!)
    .find((word) => word !== "");
  if (uri === undefined) throw new TestbedError(`${path} names no mirror`);
  return { ...source, uri };
}

/** The mirror of Debian that this machine uses. */
export async function findMirror(): Promise<AptSource> {
  const own = Deno.env.get("CSVN_DEBIAN_MIRROR");
  if (own) return { uri: own, suite: "", components: ["main"] };
  const release = await Deno.readTextFile("/etc/os-release").catch(() => "");
  const codename = osReleaseField(release, "VERSION_CODENAME");
  const source = selectMirror(await readAptSources(), codename);
  if (source === undefined) {
    throw new TestbedError(
      "apt's configuration names no Debian mirror; set CSVN_DEBIAN_MIRROR to one",
    );
  }
  return await followMirrorList(source);
}
