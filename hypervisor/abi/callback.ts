/** CALLBACKTYPE_* and CALLBACKOP_* (public/callback.h). */
export const CALLBACKTYPE_event = 0;
export const CALLBACKTYPE_failsafe = 1;
/** 64-bit guests only. */
export const CALLBACKTYPE_syscall = 2;
export const CALLBACKTYPE_nmi = 4;
export const CALLBACKTYPE_sysenter = 5;
/** SYSCALL of 32-bit code. */
export const CALLBACKTYPE_syscall32 = 7;
export const CALLBACKF_mask_events = 1;
export const CALLBACKOP_register = 0;
export const CALLBACKOP_unregister = 1;
