// The store as text, in the form of `xenstore-ls -fp`.
import type { Database } from "./database.ts";
import { childPath } from "./path.ts";
import { formatPermission } from "./permissions.ts";

const ESCAPES: ReadonlyMap<number, string> = new Map([
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0d, "\\r"],
  [0x5c, "\\\\"],
]);

/** A value as xenstore-ls shows it: printable ASCII as it is, the rest escaped. */
export function printable(value: Uint8Array): string {
  let text = "";
  for (const byte of value) {
    const known = ESCAPES.get(byte);
    if (known !== undefined) text += known;
    else if (byte >= 0x20 && byte <= 0x7e) text += String.fromCharCode(byte);
    else if (byte < 8) text += `\\${byte.toString(8).padStart(3, "0")}`;
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

/** One line a node, parents before children, children oldest first. */
export function dumpStore(database: Database): string {
  const lines: string[] = [];
  const visit = (path: string): void => {
    const node = database.nodes.get(path);
    if (node === undefined) return;
    if (path !== "/") {
      const permissions = node.permissions.map(formatPermission).join(",");
      lines.push(`${path} = "${printable(node.value)}"   (${permissions})`);
    }
    for (const name of node.children) visit(childPath(path, name));
  };
  visit("/");
  return lines.map((line) => `${line}\n`).join("");
}
