/** Hypercalls of the PV fuzzer on vcpus, traps and descriptors, and the rest. */
import { EFAULT } from "../../../hypervisor/abi/errno.ts";
import type { Field } from "../calls.ts";
import { L3, L4, RO, RWX, SCRATCH } from "../pv/pv-caller.ts";
import type { GuestCaller } from "./guest-caller.ts";
import {
  AREA,
  dataPage,
  type Fuzzer,
  is32,
  LISTS,
  many,
  type Operation,
  port,
  ptr,
  SELF,
  structured,
  WINDOW,
  word,
} from "./operations.ts";

const VGCF_IN_KERNEL = 4;
/** Segments of rings 3 and 1, and one that is not there. */
const DESCRIPTORS = [
  0n,
  0x00affb000000ffffn,
  0x00cffb000000ffffn,
  0x00cff3000000ffffn,
  0x00cfbb000000ffffn,
  0x00cfb3000000ffffn,
  0x00cf73000000ffffn,
];
/** A call gate to the kernel, which only a 32-bit guest may have. */
const GATE = 0x4006ec00e0194060n;

const vcpuOp = (c: GuestCaller, command: number, id: number, ...fields: Field[]): number => {
  c.write(SCRATCH, ...fields);
  return c.call(24, command, id, fields.length > 0 ? c.at(SCRATCH) : 0);
};

/** vcpu_guest_context for vcpu 1 on the first tables, which maps and unmaps a page over and over. @returns where it is */
function context(c: GuestCaller): bigint {
  for (const page of [AREA, AREA + 1]) c.hv.memory.zeroFrame(c.mfn(page));
  const { memory: ram } = c.hv;
  const at = (offset: number): number => ram.frame(c.mfn(AREA + (offset >>> 12))) + (offset & 0xfff);
  const { event, failsafe, syscall, nmi } = c.handlers;
  const stack = c.at(AREA + 4);
  ram.write32(at(512), VGCF_IN_KERNEL);
  if (is32(c)) {
    const put = (offset: number, ...values: (bigint | number)[]): void => {
      values.forEach((value, n) => {
        ram.write32(at(offset + 4 * n), Number(value));
      });
    };
    const cr3 = c.mfn(L3);
    put(516 + 32, c.second, 0xe019, 0x202, stack, 0xe021, 0xe021, 0xe021);
    put(584 + 8 * 2, 0xe0190002, nmi);
    put(2708, 0xe021, stack);
    put(2716 + 12, ((cr3 << 12) | (cr3 >>> 20)) >>> 0);
    put(2780, 0xe019, event, 0xe019, failsafe);
  } else {
    const put = (offset: number, ...values: (bigint | number)[]): void => {
      values.forEach((value, n) => {
        ram.write64(at(offset + 8 * n), BigInt(value));
      });
    };
    put(520 + 128, c.second, 0xe033, 0x202, stack, 0xe02b);
    put(720 + 16 * 2, 0xe0330002, nmi);
    put(4968, 0xe02b, stack);
    put(4984 + 24, BigInt(c.mfn(L4)) << 12n);
    put(5112, event, failsafe, syscall);
  }
  return c.at(AREA);
}

function trapTable(f: Fuzzer, c: GuestCaller): Field[] {
  const entries: Field[] = [];
  for (let n = f.random.below(5); n >= 0; n--) {
    const vector = f.random.below(256);
    entries.push(
      [1, vector],
      [1, 4 | f.random.below(4)],
      [2, is32(c) ? 0xe019 : 0xe033],
      ...(is32(c) ? [] : [[4, 0] as Field]),
      word(c, c.handlers.trap(vector)),
    );
  }
  return [...entries, [8, 0], [8, 0]];
}

/** A hypercall of before Xen 3.2: the command stands in the structure. */
function legacy(c: GuestCaller, number: number, fields: readonly Field[]): number {
  c.write(SCRATCH, ...fields);
  return c.call(number, c.at(SCRATCH));
}

/** What a domain without privilege is refused, with the errno. */
const REFUSALS: readonly (readonly [number: number, command: number, rc: number, ...fields: Field[]])[] = [
  [7, 0, -1, [4, 32], [4, 0x03000001]],
  [7, 0, -13, [4, 32], [4, 1]],
  [35, 0, -1, [4, 1], [4, 0x15]],
  [36, 0, -1, [4, 1], [4, 0x15], [2, SELF], [6, 0]],
  [36, 0, -3, [4, 2], [4, 0x15], [2, 12345], [6, 0]],
  [36, 0, -3, [4, 2], [4, 0x15], [2, SELF], [6, 0]],
  [37, 0, -1],
  [48, 0, -1],
  [49, 0, -3, [4, 10], [4, 0x15], [2, 12345], [6, 0]],
  [49, 0, -95, [4, 2], [4, 0x15], [2, 0], [6, 0]],
  [33, 8, -1],
  [33, 13, -1, [2, SELF], [6, 0]],
  [33, 14, -3, [2, 12345], [6, 0]],
  [33, 15, -1],
  [33, 19, -19],
  [33, 20, -22, [4, 0], [4, 2]],
  [33, 21, -22, [4, 24]],
  [33, 21, -1, [4, 3]],
  [33, 24, -1],
  [33, 27, -19],
  [33, 30, -1],
  [34, 0, -22, [2, SELF], [2, 0], [4, 0], [8, 1]],
  [34, 1, -22, [2, SELF], [2, 0], [4, 0], [8, 1]],
  [34, 15, -22, [2, SELF], [6, 0], [8, 1]],
  [34, 9, -22, [2, SELF], [6, 0], [8, 1]],
  [34, 25, -95],
  [29, 4, -3, [2, 12345], [2, 0], [4, 0]],
  [29, 7, -1],
  [20, 3, -38],
  [24, 12, -2],
];

function refused(f: Fuzzer, c: GuestCaller): number {
  const [number, command, wanted, ...fields] = f.random.pick(REFUSALS);
  c.write(SCRATCH, ...fields, [8, 0], [8, 0], [8, 0]);
  // platform_op, sysctl, domctl and its continuation have no command beside the structure.
  const isControl = [7, 35, 36, 48, 49].includes(number);
  const rc = isControl ? c.call(number, c.at(SCRATCH)) : c.call(number, command, c.at(SCRATCH));
  // A kernel may have lost the structure, or the answer, by a stray store of its own.
  if (c.garbage === null && !c.isOver && rc !== wanted && rc !== -EFAULT)
    f.strange.push(`hypercall ${number}, command ${command} answers ${rc}, not ${wanted}`);
  return 0;
}

export const CPU_OPERATIONS: readonly Operation[] = [
  // --- vcpu_op and sched_op
  {
    name: "vcpu initialise",
    run: (_f, c) => (c.domain.vcpus[1]!.isInitialised ? -17 : c.call(24, 0, 1, context(c))),
  },
  { name: "vcpu up", run: (_f, c) => vcpuOp(c, 1, 1) },
  { name: "vcpu down", run: (_f, c) => vcpuOp(c, 2, 1) },
  { name: "vcpu is_up", run: (f, c) => vcpuOp(c, 3, f.random.below(3)) },
  { name: "get_runstate_info", run: (f, c) => vcpuOp(c, 4, f.random.below(2), [8, 0]) },
  {
    name: "register_runstate_memory_area",
    run: (f, c) => vcpuOp(c, 5, f.random.below(2), [8, f.random.below(3) === 0 ? 0 : c.at(AREA + 2)]),
  },
  {
    name: "set_periodic_timer",
    run: (f, c) => vcpuOp(c, 6, f.random.below(2), [8, 1_000_000 + f.random.below(1_000_000)]),
  },
  { name: "stop_periodic_timer", run: (f, c) => vcpuOp(c, 7, f.random.below(2)) },
  { name: "set_singleshot_timer", run: (f, c) => vcpuOp(c, 8, 0, [8, f.random.bits(40)], [8, 0]) },
  { name: "stop_singleshot_timer", run: (_f, c) => vcpuOp(c, 9, 0) },
  {
    name: "register_vcpu_info",
    run: (f, c) => vcpuOp(c, 10, f.random.below(2), [8, c.mfn(dataPage(f))], [4, f.random.below(60) * 64], [4, 0]),
  },
  { name: "send_nmi", run: (f, c) => c.call(24, 11, f.random.below(2), 0) },
  {
    name: "register_vcpu_time_memory_area",
    run: (f, c) => vcpuOp(c, 13, f.random.below(2), [8, f.random.below(3) === 0 ? 0 : c.at(AREA + 2, 256)]),
  },
  { name: "yield", run: (_f, c) => c.call(29, 0, 0) },
  { name: "block", run: (_f, c) => c.call(29, 1, 0) },
  { name: "shutdown", run: (f, c) => (f.random.below(3) === 0 ? structured(c, 29, 2, [[4, f.random.below(5)]]) : -1) },
  {
    name: "poll",
    run: (f, c) => {
      c.write(LISTS, [4, port(f, c)]);
      return structured(c, 29, 3, [word(c, c.at(LISTS)), word(c, f.random.below(2)), [8, 1000]]);
    },
  },
  { name: "shutdown_code", run: (f, c) => structured(c, 29, 5, [[4, f.random.below(5)]]) },
  {
    name: "watchdog",
    run: (f, c) =>
      structured(c, 29, 6, [
        [4, f.random.below(3)],
        [4, f.random.below(2) * 1000],
      ]),
  },
  // --- traps, descriptors, the rest
  {
    name: "set_trap_table",
    run: (f, c) => {
      c.write(LISTS, ...trapTable(f, c));
      return c.call(0, f.random.below(4) === 0 ? 0 : c.at(LISTS));
    },
  },
  {
    name: "set_gdt",
    run: (f, c) => {
      const page = dataPage(f);
      for (let n = 0; n < 512; n++)
        c.put(page, n, is32(c) && f.random.below(4) === 0 ? GATE : f.random.pick(DESCRIPTORS));
      c.map(page, c.entry(page, RO));
      c.write(LISTS, word(c, c.mfn(page)));
      const rc = c.call(2, c.at(LISTS), 512);
      // And back, so that data stays data.
      if (f.random.below(4) !== 0) c.call(2, 0, 0);
      c.map(page, c.entry(page, RWX));
      return rc;
    },
  },
  {
    name: "update_descriptor",
    run: (f, c) => {
      const at = ptr(c, dataPage(f), f.random.below(512));
      const value = f.random.pick([0n, 0x00cffb000000ffffn, 0x00cff3000000ffffn]);
      return is32(c) ? c.call(10, at, at >> 32n, value & 0xffffffffn, value >> 32n) : c.call(10, at, value);
    },
  },
  {
    name: "stack_switch",
    run: (f, c) => c.call(3, is32(c) ? 0xe021 : 0xe02b, c.at(dataPage(f), 16 * f.random.below(256))),
  },
  {
    name: "set_callbacks",
    run: (_f, c) => {
      const { event, failsafe, syscall } = c.handlers;
      return is32(c) ? c.call(4, 0xe019, event, 0xe019, failsafe) : c.call(4, event, failsafe, syscall);
    },
  },
  {
    name: "callback_op: register",
    run: (f, c) => {
      const { event, failsafe, syscall, nmi } = c.handlers;
      const type = f.random.pick([0, 1, 2, 4, 5, 7]);
      return structured(c, 30, 0, [
        [2, type],
        [2, f.random.below(2)],
        [4, is32(c) ? 0xe019 : 0],
        word(c, [event, failsafe, syscall, 0n, nmi, syscall, 0n, syscall][type]!),
      ]);
    },
  },
  {
    name: "callback_op: unregister nmi",
    run: (_f, c) =>
      structured(c, 30, 1, [
        [2, 4],
        [2, 0],
      ]),
  },
  { name: "nmi_op", run: (f, c) => structured(c, 28, f.random.below(2), [word(c, c.handlers.nmi), word(c, 0)]) },
  { name: "fpu_taskswitch", run: (f, c) => c.call(5, f.random.below(2)) },
  {
    name: "set_debugreg",
    run: (f, c) => c.call(8, f.random.pick([0, 1, 2, 3, 6]), f.random.below(2) === 0 ? c.at(dataPage(f)) : 0),
  },
  // Whatever is in one is an answer.
  { name: "get_debugreg", run: (f, c) => Math.max(0, c.call(9, f.random.pick([0, 1, 2, 3]))) },
  {
    name: "set_segment_base",
    run: (f, c) =>
      is32(c)
        ? -38
        : Math.min(...[0, 1, 2, 3].map((which) => c.call(25, which, f.random.below(2) === 0 ? 0 : c.at(dataPage(f))))),
  },
  { name: "vm_assist", run: (f, c) => c.call(21, f.random.below(2), f.random.pick([0, 1, 2, 3, 4, 5, 32])) },
  { name: "physdev_op: set_iopl", run: (f, c) => structured(c, 33, 6, [[4, f.random.below(4)]]) },
  {
    name: "physdev_op: set_iobitmap",
    run: (f, c) => structured(c, 33, 7, [word(c, c.at(LISTS)), [4, f.random.below(65537)], [4, 0]]),
  },
  { name: "physdev_op: IRQ_UNMASK_NOTIFY", run: (_f, c) => c.call(33, 4, 0) },
  {
    name: "physdev_op: irq_status_query",
    run: (f, c) =>
      structured(c, 33, 5, [
        [4, f.random.below(60)],
        [4, 0],
      ]),
  },
  {
    name: "physdev_op: get_free_pirq and eoi",
    run: (f, c) => {
      const rc = structured(c, 33, 23, [
        [4, f.random.below(2)],
        [4, 0],
      ]);
      return structured(c, 33, 12, [[4, rc === 0 ? c.get32(SCRATCH, 4) : 16 + f.random.below(40)]]);
    },
  },
  {
    name: "physdev_op: pirq_eoi_gmfn",
    run: (f, c) => structured(c, 33, f.random.pick([17, 28]), [word(c, c.mfn(dataPage(f)))]),
  },
  { name: "hvm_op: get_time", run: (_f, c) => c.call(34, 10, c.at(SCRATCH)) },
  {
    name: "hvm_op: xentrace",
    run: (_f, c) =>
      structured(c, 34, 11, [
        [4, 0],
        [4, 0],
        [8, 0],
      ]),
  },
  { name: "hvm_op: guest_request_vm_event", run: (_f, c) => c.call(34, 24, 0) },
  {
    name: "sched_op_compat",
    run: (f, c) => c.call(6, f.random.below(3), f.random.below(5)),
  },
  {
    name: "event_channel_op_compat",
    run: (f, c) =>
      legacy(c, 16, [
        [4, 4],
        [4, port(f, c)],
        [8, 0],
        [8, 0],
        [8, 0],
      ]),
  },
  { name: "physdev_op_compat", run: (f, c) => legacy(c, 19, [word(c, 6), [4, f.random.below(4)], [8, 0], [8, 0]]) },
  { name: "refused", run: refused },
  { name: "set_timer_op", run: (f, c) => c.call(15, f.random.below(2) === 0 ? 0 : f.random.below(2 ** 30)) },
  ...many(
    [
      "xen_version",
      "extraversion",
      "compile_info",
      "capabilities",
      "changeset",
      "platform_parameters",
      "get_features",
      "pagesize",
      "guest_handle",
      "commandline",
    ],
    (n) => (_f, c) =>
      n === 6
        ? structured(c, 17, 6, [
            [4, 0],
            [4, 0],
          ])
        : c.call(17, n, n === 7 ? 0 : c.at(LISTS)),
  ),
  { name: "console_io", run: (f, c) => c.call(18, 0, f.random.below(100), c.at(LISTS)) },
  {
    name: "multicall",
    run: (f, c) => {
      const call = (number: number, ...args: (bigint | number)[]): Field[] =>
        [0, 1, 2, 3, 4, 5, 6, 7].map((n) => word(c, n === 0 ? number : n === 1 ? 0 : (args[n - 2] ?? 0)));
      c.write(LISTS, ...call(17, 0, 0), ...call(14, c.at(WINDOW), 0, 0), ...call(29, 0, 0), ...call(13, 0, 0));
      return c.call(13, c.at(LISTS), 1 + f.random.below(4));
    },
  },
  {
    name: "anything",
    run: (f, c) => {
      const number = f.random.below(64);
      // iret is no call that comes back.
      if (number === 23) return 0;
      return (
        c.call(
          number,
          ...Array.from({ length: 6 }, () =>
            f.random.pick([0, 1, f.random.below(64), c.at(SCRATCH), c.at(dataPage(f)), f.random.bits(64), SELF]),
          ),
        ) * 0
      );
    },
  },
];
