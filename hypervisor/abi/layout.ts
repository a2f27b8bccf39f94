/**
 * Structures that Xen and a guest share in memory, for 64-bit and for 32-bit ("compat") guests
 * (public/xen.h, public/arch-x86/xen.h). Offsets and sizes are bytes.
 */

/** What differs between the two: everything that holds a `xen_ulong_t`. */
export interface SharedLayout {
  /** Bytes of a xen_ulong_t: 8 or 4. Also the width of a selector bit's word of event channels. */
  readonly wordBytes: number;
  /** shared_info. */
  readonly sharedInfoBytes: number;
  readonly evtchnPending: number;
  readonly evtchnMask: number;
  readonly wcVersion: number;
  readonly wcSec: number;
  readonly wcNsec: number;
  readonly wcSecHi: number;
  readonly maxPfn: number;
  readonly nmiReason: number;
  /** vcpu_info. */
  readonly pendingSel: number;
  readonly archCr2: number;
}

export const LAYOUT_64: SharedLayout = {
  wordBytes: 8,
  sharedInfoBytes: 0xc40,
  evtchnPending: 0x800,
  evtchnMask: 0xa00,
  wcVersion: 0xc00,
  wcSec: 0xc04,
  wcNsec: 0xc08,
  wcSecHi: 0xc0c,
  maxPfn: 0xc10,
  nmiReason: 0xc20,
  pendingSel: 8,
  archCr2: 0x10,
};

export const LAYOUT_32: SharedLayout = {
  wordBytes: 4,
  sharedInfoBytes: 0x928,
  evtchnPending: 0x800,
  evtchnMask: 0x880,
  wcVersion: 0x900,
  wcSec: 0x904,
  wcNsec: 0x908,
  wcSecHi: 0x924,
  maxPfn: 0x90c,
  nmiReason: 0x914,
  pendingSel: 4,
  archCr2: 8,
};

/** vcpu_info, the same size in both layouts; entry n of shared_info lies at n * VCPU_INFO_BYTES. */
export const VCPU_INFO_BYTES = 0x40;
export const VCPU_INFO_UPCALL_PENDING = 0;
export const VCPU_INFO_UPCALL_MASK = 1;
export const VCPU_INFO_TIME = 0x20;

/** vcpu_time_info, the same in both layouts. */
export const TIME_INFO_BYTES = 0x20;
export const TIME_VERSION = 0;
export const TIME_TSC_TIMESTAMP = 8;
export const TIME_SYSTEM_TIME = 0x10;
export const TIME_TSC_TO_SYSTEM_MUL = 0x18;
export const TIME_TSC_SHIFT = 0x1c;
export const TIME_FLAGS = 0x1d;
/** XEN_PVCLOCK_TSC_STABLE_BIT: readings of different vcpus may be compared. */
export const PVCLOCK_TSC_STABLE = 1;
