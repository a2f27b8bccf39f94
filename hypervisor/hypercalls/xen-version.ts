/** HYPERVISOR_xen_version (public/version.h). */
import { EFAULT, EINVAL, ENOSYS, EPERM } from "../abi/errno.ts";
import { HYPERVISOR_xen_version } from "../abi/hypercall.ts";
import {
  XENFEAT_auto_translated_physmap,
  XENFEAT_direct_mapped,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_highmem_assist,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_not_direct_mapped,
  XENFEAT_pae_pgdir_above_4gb,
  XENFEAT_writable_page_tables,
  XENVER_build_id,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_get_features,
  XENVER_guest_handle,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
} from "../abi/version.ts";
import { VMASST_TYPE_pae_extended_cr3 } from "../abi/xen.ts";
import type { Domain } from "../domain/domain.ts";
import { copyToGuest, readGuest, writeGuest32, writeGuest64 } from "../memory/guest-access.ts";
import { defineHypercall } from "./dispatch.ts";

export const XEN_MAJOR = 4;
export const XEN_MINOR = 17;
const EXTRAVERSION = ".0";
export const XEN_BANNER_VERSION: string = `${XEN_MAJOR}.${XEN_MINOR}${EXTRAVERSION}`;
const CAPABILITIES = "xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";
/** What a guest may not read (xen_deny). */
const DENIED = "<denied>";
/** HYPERVISOR_VIRT_START for 64-bit guests, and HYPERVISOR_COMPAT_VIRT_START. */
const VIRT_START = 0xffff_8000_0000_0000n;
const VIRT_START_COMPAT = 0xf580_0000;

const bits = (...features: number[]): number => features.reduce((all, feature) => all | (1 << feature), 0);
const FEATURES_HVM = bits(
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_writable_page_tables,
  XENFEAT_auto_translated_physmap,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_not_direct_mapped,
);
const FEATURES_PV = bits(
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_highmem_assist,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_direct_mapped,
);

/** XENFEAT_* of submap 0. */
function features({ isPv, vmAssist }: Domain): number {
  if (!isPv) return FEATURES_HVM;
  return FEATURES_PV | (vmAssist & (1 << VMASST_TYPE_pae_extended_cr3) ? bits(XENFEAT_pae_pgdir_above_4gb) : 0);
}

/** The strings, each zero-filled to the size of its field. */
function fields(...parts: readonly (readonly [text: string, bytes: number])[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, [, bytes]) => sum + bytes, 0));
  let at = 0;
  for (const [text, bytes] of parts) {
    out.set(new TextEncoder().encode(text).subarray(0, bytes - 1), at);
    at += bytes;
  }
  return out;
}

/** Commands whose answer is a fixed string. */
const TEXTS: Readonly<Record<number, Uint8Array>> = {
  [XENVER_extraversion]: fields([EXTRAVERSION, 16]),
  [XENVER_compile_info]: fields(["Xenoscope", 64], ["xenoscope", 16], ["", 32], ["", 32]),
  [XENVER_capabilities]: fields([CAPABILITIES, 1024]),
  [XENVER_changeset]: fields(["unavailable", 64]),
  [XENVER_commandline]: fields([DENIED, DENIED.length + 1]),
};

defineHypercall(HYPERVISOR_xen_version, (vcpu, args, compat) => {
  const command = Number(BigInt.asIntN(32, args[0]!));
  const arg = args[1]!;
  const text = TEXTS[command];
  if (text !== undefined) return copyToGuest(vcpu, arg, text) ? 0 : -EFAULT;
  switch (command) {
    case XENVER_version:
      return (XEN_MAJOR << 16) | XEN_MINOR;
    case XENVER_platform_parameters:
      return (compat ? writeGuest32(vcpu, arg, VIRT_START_COMPAT) : writeGuest64(vcpu, arg, VIRT_START)) ? 0 : -EFAULT;
    case XENVER_get_features: {
      const info = readGuest(vcpu, arg, 8);
      if (info === null) return -EFAULT;
      if (info.getUint32(0, true) !== 0) return -EINVAL;
      return writeGuest32(vcpu, arg + 4n, features(vcpu.domain)) ? 0 : -EFAULT;
    }
    case XENVER_pagesize:
      return arg === 0n ? 4096 : -EINVAL;
    case XENVER_guest_handle:
      return copyToGuest(vcpu, arg, vcpu.domain.uuid) ? 0 : -EFAULT;
    case XENVER_build_id:
      return -EPERM;
    default:
      return -ENOSYS;
  }
});
