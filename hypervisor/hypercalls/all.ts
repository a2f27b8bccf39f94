/** Loads every module that defines hypercalls of all kinds of guests. */
import "../events/hypercall.ts";
import "../grants/hypercall.ts";
import "./console-io.ts";
import "./hvm-op.ts";
import "./memory-op.ts";
import "./multicall.ts";
import "./sched-op.ts";
import "./unprivileged.ts";
import "./vcpu-op.ts";
import "./xen-version.ts";
