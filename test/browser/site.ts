/** A small web server for tests: text, and files by the path that they are served under. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const TYPES: Readonly<Record<string, string>> = { html: "text/html", js: "text/javascript" };

/** Makes a page cross-origin isolated. */
const ISOLATION = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };

export class Site {
  private readonly server: Server;
  /** With a `/` at its end. */
  readonly url: string;

  private constructor(server: Server) {
    this.server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  }

  /**
   * @param text what is served, by path
   * @param files by path: a file; by path with `/` at its end: a folder
   */
  static open(
    { text = {}, files }: { text?: Record<string, string>; files: Record<string, string> },
    isolated: boolean,
  ): Promise<Site> {
    const read = (path: string): Uint8Array | string | undefined => {
      if (text[path] !== undefined) return text[path];
      const folder = path.slice(0, path.lastIndexOf("/") + 1);
      const file = files[path] ?? (files[folder] && `${files[folder]}/${path.slice(folder.length)}`);
      try {
        return file && readFileSync(file);
      } catch {
        return undefined;
      }
    };
    const server = createServer((request, response) => {
      const path = new URL(request.url!, "http://site/").pathname.slice(1);
      const body = read(path);
      const type = TYPES[path.split(".").at(-1)!] ?? "application/octet-stream";
      response.writeHead(body === undefined ? 404 : 200, { "Content-Type": type, ...(isolated && ISOLATION) });
      response.end(body);
    });
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(new Site(server))));
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}
