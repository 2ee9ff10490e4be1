/** Archives in cpio's "newc" format, which is what the kernel unpacks. */

/** A file, directory or symbolic link in an archive. */
export type CpioEntry =
  | { path: string; type: "directory"; mode: number }
  | { path: string; type: "file"; mode: number; data: Uint8Array }
  | { path: string; type: "symlink"; target: string };

const encoder = new TextEncoder();
const TYPE_BITS = { directory: 0o040000, file: 0o100000, symlink: 0o120000 };

function padded(length: number): number {
  return (length + 3) & ~3;
}

/** The archive of these entries, parents first, owned by root, dated 1970. */
export function makeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let inode = 1;
  const add = (path: string, mode: number, data: Uint8Array): void => {
    const name = encoder.encode(`${path}\0`);
    const links = (mode & 0o170000) === TYPE_BITS.directory ? 2 : 1;
    const fields = [
      ...[inode++, mode, 0, 0, links, 0, data.length],
      ...[0, 0, 0, 0, name.length, 0],
    ];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
    const head = new Uint8Array(padded(header.length + name.length));
    head.set(encoder.encode(header));
    head.set(name, header.length);
    const body = new Uint8Array(padded(data.length));
    body.set(data);
    parts.push(head, body);
  };
  for (const entry of entries) {
    if (entry.type === "directory") {
      add(entry.path, TYPE_BITS.directory | entry.mode, new Uint8Array());
    } else if (entry.type === "symlink") {
      add(entry.path, TYPE_BITS.symlink | 0o777, encoder.encode(entry.target));
    } else {
      add(entry.path, TYPE_BITS.file | entry.mode, entry.data);
    }
  }
  add("TRAILER!!!", 0, new Uint8Array());
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const archive = new Uint8Array(total);
  let offset = 0;
  for (const part of parts) {
    archive.set(part, offset);
    offset += part.length;
  }
  return archive;
}
