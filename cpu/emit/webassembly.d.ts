/**
 * The part of the WebAssembly JavaScript API that the core uses. Declared here so that cpu/ compiles without the DOM's or
 * Node's types.
 */
declare namespace WebAssembly {
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean });
    readonly buffer: ArrayBuffer;
  }
  class Module {
    constructor(bytes: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports?: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
  class Table {
    constructor(descriptor: { initial: number; element: "anyfunc"; maximum?: number });
    readonly length: number;
    grow(by: number): number;
    set(index: number, value: unknown): void;
    get(index: number): unknown;
  }
}
