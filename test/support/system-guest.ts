/**
 * The bare machine of the system guests (guests/system): a multiboot image in 16 MiB, a local APIC, the debug port 0xe9 for
 * text, and port 0xf4 that ends the run as QEMU's isa-debug-exit does.
 */
import { readFileSync } from "node:fs";
import * as A from "../../cpu/arena.ts";
import { BUS_DONE, type Bus, Core, CoreGroup, EXIT_DEADLINE, EXIT_IDLE, EXIT_NAMES } from "../../cpu/core.ts";
import { type BlockRunner, Engine } from "../../cpu/run.ts";
import { ApicBus, LocalApic } from "../../cpu/system/apic.ts";
import { type CpuModel, findCpuModel, setCpuModel } from "../../cpu/system/cpu-model.ts";
import { setPvhState } from "../../cpu/system/mode.ts";
import { EventClock } from "./event-clock.ts";

const RAM_BYTES = 16 << 20;
const PORT_TEXT = 0xe9;
const PORT_EXIT = 0xf4;
/** Cycles of a slice: how late an event may be that the guest makes in it. */
const SLICE = 2000;

export interface SystemRun {
  /** What the guest wrote. */
  text: string;
  /** "exit" if it ended by itself, else the name of the engine's exit. */
  end: string;
  cycles: number;
}

/** Copies the segments of a 32-bit ELF into RAM. @returns its entry */
function load(core: Core, file: string): number {
  const elf = readFileSync(file);
  const [at, size, count] = [elf.readUInt32LE(28), elf.readUInt16LE(42), elf.readUInt16LE(44)];
  for (let n = 0; n < count; n++) {
    const header = at + n * size;
    if (elf.readUInt32LE(header) !== 1) continue;
    const from = elf.readUInt32LE(header + 4);
    core.u8.set(
      elf.subarray(from, from + elf.readUInt32LE(header + 16)),
      core.arena.ofPhysical(elf.readUInt32LE(header + 12)),
    );
  }
  return elf.readUInt32LE(24);
}

export interface SystemRunOptions {
  /** The engine; the translator if absent. */
  makeRunner?: (engine: Engine, core: Core) => BlockRunner;
  /** The processor, by default Intel's with all that there is. */
  model?: CpuModel;
  /** Fewer turns of the longest loops. */
  quick?: boolean;
  /** Cycles after which it is given up. */
  limit?: number;
}

/** Runs a system guest to its end. */
export function runSystemGuest(file: string, options: SystemRunOptions = {}): SystemRun {
  const { makeRunner, model = findCpuModel("intel", "x86-64-v3"), quick = false, limit = 400_000_000 } = options;
  const core = new Core(new A.Arena(RAM_BYTES), 0, new CoreGroup());
  setCpuModel(core, model);
  let text = "";
  let over = false;
  const engine = new Engine(core, makeRunner);
  setPvhState(core, 0, 0);
  setPvhState(core, load(core, file), quick ? 1 : 0);
  const clock = new EventClock(core);
  const apic = new LocalApic(core, clock, new ApicBus(), { id: 0, cyclesPerTick: 1 });
  core.interrupts = apic;
  const none = (): number => {
    core.i32[A.BUS_DATA >>> 2] = -1;
    core.i32[(A.BUS_DATA + 4) >>> 2] = -1;
    return BUS_DONE;
  };
  const page = 0xfee00000;
  const bus: Bus = {
    portRead: none,
    portWrite: (_core, port) => {
      if (port === PORT_TEXT) text += String.fromCharCode(core.u8[A.BUS_DATA]!);
      if (port === PORT_EXIT) {
        over = true;
        core.breakSlice();
      }
      return BUS_DONE;
    },
    memoryRead: (_core, address, size) => {
      if (address < page || address >= page + 4096 || size !== 4) return none();
      core.i32[A.BUS_DATA >>> 2] = apic.read(address - page);
      return BUS_DONE;
    },
    memoryWrite: (_core, address, size) => {
      if (address >= page && address < page + 4096 && size === 4)
        apic.write(address - page, core.i32[A.BUS_DATA >>> 2]!);
      return BUS_DONE;
    },
  };
  core.bus = bus;
  for (;;) {
    const exit = engine.run(core, Math.min(core.now() + SLICE, limit, clock.due));
    while (clock.due <= core.now()) clock.next();
    if (over) return { text, end: "exit", cycles: core.now() };
    if ((exit !== EXIT_DEADLINE && exit !== EXIT_IDLE) || exit === EXIT_IDLE || core.now() >= limit)
      return { text, end: EXIT_NAMES[exit] ?? `exit ${exit}`, cycles: core.now() };
  }
}
