/** Loads every module that defines hypercalls. Whoever dispatches imports this. */
import "./console-io.ts";
import "./hvm-op.ts";
import "./multicall.ts";
import "./sched-op.ts";
import "./unprivileged.ts";
import "./vcpu-op.ts";
import "./xen-version.ts";
