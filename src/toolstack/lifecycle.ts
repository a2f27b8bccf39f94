/** What becomes of a domain that stopped: the Event Actions of xl.cfg(5). */

import type { ShutdownReason } from "../machine/api.ts";
import type { ShutdownAction, ShutdownActions } from "./xlcfg/domain.ts";

export interface Fate {
  readonly restart: boolean;
  /** What the file asked for and does not happen here. */
  readonly note?: string;
}

/** The action that the configuration holds for this reason. A suspended domain stays as it is. */
export function actionFor(actions: ShutdownActions, reason: ShutdownReason): ShutdownAction {
  switch (reason) {
    case "poweroff":
      return actions.poweroff;
    case "reboot":
      return actions.reboot;
    case "watchdog":
      return actions.watchdog;
    case "crash":
      return actions.crash;
    case "soft-reset":
      return actions.softReset;
    case "suspend":
      return "preserve";
  }
}

const FATES: Readonly<Record<ShutdownAction, Fate>> = {
  destroy: { restart: false },
  preserve: { restart: false },
  restart: { restart: true },
  "rename-restart": { restart: true },
  "coredump-destroy": { restart: false, note: "no core dump is written" },
  "coredump-restart": { restart: true, note: "no core dump is written" },
  "soft-reset": { restart: false, note: "soft reset is not supported: the domain is destroyed" },
};

export function fateOf(actions: ShutdownActions, reason: ShutdownReason): Fate {
  return FATES[actionFor(actions, reason)];
}
