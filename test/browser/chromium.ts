/** Chromium without a window, driven by the DevTools protocol over a pipe: null-terminated JSON on the descriptors 3 and 4. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/** CHROME_PATH, or a browser of a usual name on PATH. */
export function findChromium(): string | undefined {
  const { CHROME_PATH, PATH = "" } = process.env;
  if (CHROME_PATH) return CHROME_PATH;
  const candidates = NAMES.flatMap((name) => PATH.split(delimiter).map((folder) => join(folder, name)));
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

interface Message {
  id?: number;
  sessionId?: string;
  method?: string;
  params?: Record<string, unknown>;
  result?: Record<string, unknown>;
  error?: { message: string };
}

interface Evaluated {
  result: { value?: unknown };
  exceptionDetails?: { text: string; exception?: { description?: string } };
}

export class Chromium {
  private readonly process: ChildProcess;
  private readonly profile: string;
  private readonly waiting: Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }> =
    new Map();
  private readonly listeners: ((message: Message) => void)[] = [];
  private calls = 0;
  private stderr = "";

  constructor(path: string) {
    this.profile = mkdtempSync(join(tmpdir(), "xenoscope-chromium-"));
    // No sandbox: as root there is none, and what runs here is ours.
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
    this.process = spawn(
      path,
      [...flags, `--user-data-dir=${this.profile}`, "--remote-debugging-pipe", "about:blank"],
      {
        stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
      },
    );
    this.process.stderr!.on("data", (chunk) => {
      this.stderr += chunk;
    });
    this.process.on("error", (error) => this.end(error));
    this.process.on("exit", (code) =>
      this.end(new Error(`${path} ended with code ${code}: ${this.stderr.slice(-2000)}`)),
    );
    const pipe = this.process.stdio[4] as Readable;
    let text = "";
    pipe.setEncoding("utf8").on("data", (chunk: string) => {
      const parts = (text + chunk).split("\0");
      text = parts.pop()!;
      for (const part of parts) this.hear(JSON.parse(part));
    });
    (this.process.stdio[3] as Writable).on("error", () => {});
  }

  private end(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }

  private hear(message: Message): void {
    if (message.id === undefined) {
      for (const listener of this.listeners) listener(message);
      return;
    }
    const call = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error === undefined) call?.resolve(message.result);
    else call?.reject(new Error(message.error.message));
  }

  call<T>(method: string, params: object = {}, sessionId?: string): Promise<T> {
    const id = ++this.calls;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      if (this.process.exitCode !== null) this.end(new Error(`Chromium has ended: ${this.stderr.slice(-2000)}`));
      else (this.process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  onEvent(listener: (message: Message) => void): void {
    this.listeners.push(listener);
  }

  async open(url: string): Promise<Page> {
    const { targetId } = await this.call<{ targetId: string }>("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.call<{ sessionId: string }>("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId);
    await page.load(url);
    return page;
  }

  async close(): Promise<void> {
    if (this.process.exitCode === null) {
      const ended = new Promise((resolve) => this.process.once("exit", resolve));
      this.process.kill("SIGKILL");
      await ended;
    }
    // Its helper processes may write for a moment longer.
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

export class Page {
  private readonly browser: Chromium;
  private readonly session: string;
  /** What went wrong in the page and nobody caught. */
  readonly errors: string[] = [];

  constructor(browser: Chromium, session: string) {
    this.browser = browser;
    this.session = session;
    browser.onEvent(({ sessionId, method, params }) => {
      if (sessionId !== session || method !== "Runtime.exceptionThrown") return;
      const { text, exception } = (
        params as unknown as { exceptionDetails: NonNullable<Evaluated["exceptionDetails"]> }
      ).exceptionDetails;
      this.errors.push(exception?.description ?? text);
    });
  }

  private call<T>(method: string, params: object = {}): Promise<T> {
    return this.browser.call<T>(method, params, this.session);
  }

  async load(url: string): Promise<void> {
    await this.call("Runtime.enable");
    await this.call("Page.enable");
    const loaded = new Promise<void>((resolve) => {
      this.browser.onEvent(({ sessionId, method }) => {
        if (sessionId === this.session && method === "Page.loadEventFired") resolve();
      });
    });
    const { errorText } = await this.call<{ errorText?: string }>("Page.navigate", { url });
    if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    await loaded;
  }

  /** The value of a JavaScript expression, awaited; throws what it throws. */
  async evaluate<T>(expression: string): Promise<T> {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await this.call<Evaluated>("Runtime.evaluate", params);
    if (exceptionDetails !== undefined)
      throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value as T;
  }

  /** Waits until an expression is true; an error of the page ends the wait. */
  async until(expression: string): Promise<void> {
    while (!(await this.evaluate<boolean>(expression))) {
      if (this.errors.length > 0) throw new Error(this.errors.join("\n"));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Types a line with the keyboard into what has the focus. */
  async type(line: string): Promise<void> {
    await this.call("Input.insertText", { text: line });
    const enter = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", ...enter });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...enter });
  }
}
