import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import {
  osReleaseField,
  parseDeb822,
  parseSourcesList,
  readAptSources,
  selectMirror,
} from "../../tools/testbed/apt_sources.ts";

const MIRROR = "http://mirror.example/debian";

Deno.test("parseSourcesList() reads options and skips what is no binary source", () => {
  const text = `# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/keys/a.gpg] ${MIRROR} bookworm main contrib # why
deb-src ${MIRROR} bookworm main
deb ${MIRROR}-security bookworm-security main
`;
  assertEquals(parseSourcesList(text), [
    {
      uri: MIRROR,
      suite: "bookworm",
      components: ["main", "contrib"],
      signedBy: "/etc/keys/a.gpg",
    },
    {
      uri: `${MIRROR}-security`,
      suite: "bookworm-security",
      components: ["main"],
    },
  ]);
});

Deno.test("parseDeb822() multiplies addresses and suites", () => {
  const text = `Types: deb deb-src
# a comment in between
URIs: ${MIRROR}
Suites: trixie
 trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb
URIs: http://inline.example/debian/
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`;
  const signedBy = "/usr/share/keyrings/debian-archive-keyring.gpg";
  const components = ["main"];
  assertEquals(parseDeb822(text), [
    { uri: MIRROR, suite: "trixie", components, signedBy },
    { uri: MIRROR, suite: "trixie-updates", components, signedBy },
    { uri: "http://inline.example/debian/", suite: "trixie", components },
  ]);
});

Deno.test("selectMirror() takes the host's own suite, not another vendor's", () => {
  const components = ["main"];
  const vendor = {
    uri: "https://vendor.example/apt",
    suite: "tool-bookworm",
    components,
  };
  const security = {
    uri: `${MIRROR}-security`,
    suite: "bookworm-security",
    components,
  };
  const main = { uri: MIRROR, suite: "bookworm", components };
  assertEquals(selectMirror([vendor, security, main], "bookworm"), main);
  assertEquals(selectMirror([vendor, security], "bookworm"), undefined);
});

Deno.test("selectMirror() knows a mirror by its suite if the host has no code name", () => {
  const main = { uri: `${MIRROR}/`, suite: "sid", components: ["main"] };
  assertEquals(selectMirror([main], ""), main);
  const cdrom = { uri: "cdrom:[x]/", suite: "sid", components: ["main"] };
  assertEquals(selectMirror([cdrom], "sid"), undefined);
});

Deno.test("readAptSources() reads both formats, in order, and no other files", async () => {
  const root = await Deno.makeTempDir();
  try {
    await Deno.mkdir(join(root, "sources.list.d"));
    const write = (name: string, text: string): Promise<void> => Deno.writeTextFile(join(root, name), text);
    await write("sources.list.d/b.list", "deb http://b.example/debian x main");
    await write(
      "sources.list.d/a.sources",
      "Types: deb\nURIs: http://a.example/debian\nSuites: x\nComponents: main\n",
    );
    await write("sources.list.d/c.list.save", "deb http://c.example y main");
    assertEquals(
      (await readAptSources(root)).map(({ uri }) => uri),
      ["http://a.example/debian", "http://b.example/debian"],
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("osReleaseField() takes quotes off", () => {
  const text = 'ID=debian\nVERSION_CODENAME="trixie"\n';
  assertEquals(osReleaseField(text, "VERSION_CODENAME"), "trixie");
  assertEquals(osReleaseField(text, "NOTHING"), "");
});
