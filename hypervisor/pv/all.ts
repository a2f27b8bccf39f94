/** Loads every module of pv/ that defines hypercalls. */
import "./callbacks.ts";
import "./control-registers.ts";
import "./debug-registers.ts";
import "./descriptors.ts";
import "./misc-hypercalls.ts";
