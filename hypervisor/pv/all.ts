/** Loads every module of pv/ that defines hypercalls. */
import "./callbacks.ts";
import "./control-registers.ts";
import "./debug-registers.ts";
import "./descriptors.ts";
import "./legacy-hypercalls.ts";
import "./memory-op.ts";
import "./misc-hypercalls.ts";
import "./mmu-update.ts";
import "./mmuext.ts";
import "./physdev.ts";
import "./update-va-mapping.ts";
import "./vcpu-op.ts";
import "./writable-tables.ts";
