/**
 * A PV guest that makes system calls for ever: a user in a loop of SYSCALL, and a kernel that goes back at once by HYPERVISOR_iret, its
 * selectors looked up in the GDT as for a Linux kernel. RBX counts the round trips.
 */

import { Arena, RIP, S_RBX } from "../../cpu/arena.ts";
import { Engine } from "../../cpu/run.ts";
import { CALLBACKTYPE_syscall } from "../../hypervisor/abi/callback.ts";
import { createDomain } from "../../hypervisor/domain/create.ts";
import { Hypervisor } from "../../hypervisor/hypervisor.ts";
import { installUserBase } from "../../hypervisor/pv/base-table.ts";
import { startPv } from "../../hypervisor/pv/vcpu-init.ts";
import { runMachine } from "../../hypervisor/run.ts";

const MIB = 2 ** 20;
/** Pages, mapped from BASE on in this order: tables first, read-only. */
const [L4, L3, L2, L1, USER_L4, USER_CODE, KERNEL_CODE, KERNEL_STACK, USER_STACK, PAGES] = [
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
] as const;
const BASE = 0x40000000n;
const TABLE = 0x67n;
const READ_ONLY = 0x65n;
const at = (page: number, offset = 0): bigint => BASE + BigInt(page * 4096 + offset);

const USER = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x48, 0xff, 0xc3, 0xeb, 0xf4]; // mov $39, %eax; syscall; inc %rbx; jmp
// pop %rcx; pop %r11; push $0; push %rcx; push %r11; push %rax; mov $23, %eax; syscall
const KERNEL = [0x59, 0x41, 0x5b, 0x6a, 0, 0x51, 0x41, 0x53, 0x50, 0xb8, 23, 0, 0, 0, 0x0f, 0x05];

export interface PvLoop {
  run(cycles: number): void;
  /** System calls so far. */
  done(): number;
}

export function pvLoop(): PvLoop {
  let engine: Engine | null = null;
  const hv = new Hypervisor({
    arena: new Arena(16 * MIB),
    engine: { run: (core, deadline) => engine!.run(core, deadline) },
    pcpus: 1,
    cpu: "intel",
  });
  engine = new Engine(hv.xenCore);
  const domain = createDomain(hv, { name: "loop", type: "pv", maxVcpus: 1, maxPages: PAGES });
  const mfns = Array.from({ length: PAGES }, () => hv.heap.alloc(domain.domid));
  const put = (page: number, index: number, value: bigint): void =>
    hv.memory.write64(hv.memory.frame(mfns[page]!) + index * 8, value);
  const entry = (page: number, flags: bigint): bigint => (BigInt(mfns[page]!) << 12n) | flags;
  put(L4, 0, entry(L3, TABLE));
  put(USER_L4, 0, entry(L3, TABLE));
  put(L3, 1, entry(L2, TABLE));
  put(L2, 0, entry(L1, TABLE));
  for (let n = 0; n < PAGES; n++) put(L1, n, entry(n, n <= USER_L4 ? READ_ONLY : TABLE));
  hv.memory.write(hv.memory.frame(mfns[USER_CODE]!), Uint8Array.from(USER));
  hv.memory.write(hv.memory.frame(mfns[KERNEL_CODE]!), Uint8Array.from(KERNEL));
  // The first iret: rax, r11, rcx, flags, rip, cs, rflags, rsp, ss.
  const frame = [0n, 0n, 0n, 0n, at(USER_CODE), 0xe033n, 0x202n, at(USER_STACK, 4096), 0xe02bn];
  frame.forEach((word, n) => {
    put(KERNEL_STACK, 512 - frame.length + n, word);
  });
  const vcpu = domain.vcpus[0]!;
  startPv(vcpu, { rip: at(KERNEL_CODE, 9), rsp: at(KERNEL_STACK, 4096 - 72), rsi: 0n, top: mfns[L4]! });
  vcpu.core.activate();
  const pv = vcpu.pv!;
  if (installUserBase(vcpu, mfns[USER_L4]!) !== 0) throw new Error("the user's tables were refused");
  pv.callbackLo[CALLBACKTYPE_syscall] = Number(at(KERNEL_CODE));
  pv.kernelSpLo = Number(at(KERNEL_STACK, 4096));
  domain.unpause();
  return {
    run(cycles) {
      runMachine(hv, hv.turn.cycle + cycles);
      if (domain.isShutDown) throw new Error(`the loop has ended at ${vcpu.core.u64[RIP >>> 3]!.toString(16)}`);
    },
    done: () => Number(vcpu.core.slot(S_RBX)),
  };
}
