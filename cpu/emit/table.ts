/** The table of micro-op emitters, indexed by kind. */
import * as U from "../uops/uop.ts";
import { installAlu } from "./emit-alu.ts";
import { installBits } from "./emit-bits.ts";
import { installBmi } from "./emit-bmi.ts";
import { installFloat } from "./emit-float.ts";
import { installLanes } from "./emit-lanes.ts";
import { installMove } from "./emit-move.ts";
import { installMulDiv } from "./emit-muldiv.ts";
import { installSystem } from "./emit-system.ts";
import { installVector } from "./emit-vector.ts";
import { installWide } from "./emit-wide.ts";
import { installX87 } from "./emit-x87.ts";
import type { Emit, EmitTable } from "./family.ts";

let built: EmitTable | undefined;
export function emitTable(): EmitTable {
  if (built === undefined) {
    built = new Array<Emit | undefined>(U.U_KINDS).fill(undefined);
    installAlu(built);
    installBits(built);
    installBmi(built);
    installMulDiv(built);
    installMove(built);
    installVector(built);
    installLanes(built);
    installFloat(built);
    installX87(built);
    installWide(built);
    installSystem(built);
  }
  return built;
}
