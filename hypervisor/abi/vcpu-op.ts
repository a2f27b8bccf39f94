/** VCPUOP_*, runstates and vcpu flags (public/vcpu.h, public/hvm/hvm_vcpu.h). */
export const VCPUOP_initialise = 0;
export const VCPUOP_up = 1;
export const VCPUOP_down = 2;
export const VCPUOP_is_up = 3;
export const VCPUOP_get_runstate_info = 4;
export const RUNSTATE_running = 0;
export const RUNSTATE_runnable = 1;
export const RUNSTATE_blocked = 2;
export const RUNSTATE_offline = 3;
export const VCPUOP_register_runstate_memory_area = 5;
export const VCPUOP_set_periodic_timer = 6;
export const VCPUOP_stop_periodic_timer = 7;
export const VCPUOP_set_singleshot_timer = 8;
export const VCPUOP_stop_singleshot_timer = 9;
export const VCPU_SSHOTTMR_future = 1;
export const VCPUOP_register_vcpu_info = 10;
export const VCPUOP_send_nmi = 11;
export const VCPUOP_get_physid = 12;
export const VCPUOP_register_vcpu_time_memory_area = 13;
export const VCPU_HVM_MODE_32B = 0;
export const VCPU_HVM_MODE_64B = 1;
/** Top bit of state_entry_time while Xen updates the guest's copy (XEN_RUNSTATE_UPDATE): bit 31 of the high word. */
export const XEN_RUNSTATE_UPDATE_HIGH = 0x80000000;
/** vcpu_runstate_info: state u32, state_entry_time u64, time[4] u64; a 32-bit guest packs it without the hole. */
export const RUNSTATE_INFO_BYTES = 48;
export const RUNSTATE_INFO_BYTES_COMPAT = 44;
