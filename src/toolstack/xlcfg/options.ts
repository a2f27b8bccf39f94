/**
 * Every option of xl.cfg(5) at top level, and what Xenoscope does with it. One table: the checker, the warnings and the
 * documentation read it.
 */

/**
 * - `honoured`: the domain is built accordingly.
 * - `later`: Xen knows it, Xenoscope does not act on it yet: a warning.
 * - `moot`: has no meaning on this machine (another architecture, the host's desktop, a security module): a warning that says why.
 * - `deprecated`: honoured where possible, and a warning names what to write instead.
 */
export type OptionStatus = "honoured" | "later" | "moot" | "deprecated";

export interface XlOption {
  readonly status: OptionStatus;
  /** For `moot` and `deprecated`: the reason, or what to write instead. */
  readonly note?: string;
}

function table(status: OptionStatus, names: string, note?: string): [string, XlOption][] {
  const option: XlOption = note === undefined ? { status } : { status, note };
  return names
    .trim()
    .split(/\s+/)
    .map((name) => [name, option]);
}

export const XL_OPTIONS: ReadonlyMap<string, XlOption> = new Map<string, XlOption>([
  // Name, type, processors, memory, actions, direct kernel boot.
  ...table("honoured", "name type uuid vcpus maxvcpus cpus cpu_weight cap memory maxmem"),
  ...table("honoured", "on_poweroff on_reboot on_watchdog on_crash on_soft_reset"),
  ...table("honoured", "kernel ramdisk cmdline root extra max_grant_version max_event_channels cpuid"),
  ...table("deprecated", "builder", 'write type="pv", "hvm" or "pvh"'),

  // Processors, time and memory.
  ...table("later", "pool cpus_soft vnuma tsc_mode localtime rtc_timeoffset vpt_align timer_mode vpmu"),
  ...table("later", "hap oos shadow_memory nestedhvm pae nx acpi acpi_s3 acpi_s4 acpi_laptop_slate apic hpet"),
  ...table("later", "altp2m altp2m_count mca_caps msr_relaxed vmtrace_buf_kb e820_host mmio_hole"),
  ...table("later", "max_grant_frames max_maptrack_frames xenstore_feature_mask xenstore_quota"),
  ...table("later", "nomigrate driver_domain passthrough xend_suspend_evtchn_compat"),
  ...table("deprecated", "altp2mhvm", "write altp2m; it is not yet honoured either"),

  // Boot by firmware or bootloader.
  ...table(
    "later",
    "firmware bios bios_path_override boot bootloader bootloader_args bootloader_restrict bootloader_user",
  ),
  ...table("later", "pvshim pvshim_path pvshim_cmdline pvshim_extra"),
  ...table("later", "acpi_firmware smbios_firmware smbios ms_vm_genid"),

  // Devices.
  ...table("later", "disk vif vfb vkb vtpm p9 pvcalls channel vdispl vsnd virtio usbctrl usbdev pci dtdev"),
  ...table("later", "pci_permissive pci_msitranslate pci_seize pci_power_mgmt gfx_passthru rdm rdm_mem_boundary"),
  ...table("later", "ioports iomem irqs hdtype xen_platform_pci xen_platform_pci_bar_uc viridian hvm_pirq"),
  ...table("later", "serial usb usbversion usbdevice vkb_device videoram stdvga vga nographic soundhw vendor_device"),
  ...table("later", "device_model_version device_model_override device_model_args device_model_args_pv"),
  ...table("later", "device_model_args_hvm stubdomain_kernel stubdomain_cmdline stubdomain_ramdisk stubdomain_memory"),
  ...table("later", "device_model_stubdomain_override"),
  ...table("deprecated", "device_model", "write device_model_override; there is no device model here"),
  ...table("deprecated", "vif2", "write vif; it is not yet honoured either"),

  // What this machine has no use for.
  ...table("moot", "seclabel init_seclabel device_model_stubdomain_seclabel", "there is no XSM policy on this machine"),
  ...table("moot", "device_model_user dm_restrict", "there is no device model process to restrict"),
  ...table(
    "moot",
    "vnc vnclisten vncdisplay vncunused vncpasswd vncviewer sdl opengl display xauthority keymap",
    "there is no display",
  ),
  ...table("moot", "spice spicehost spiceport spicetls_port spicedisable_ticketing spicepasswd", "there is no display"),
  ...table("moot", "spiceagent_mouse spicevdagent spice_clipboard_sharing spiceusbredirection", "there is no display"),
  ...table("moot", "spice_image_compression spice_streaming_video", "there is no display"),
  ...table(
    "moot",
    "device_tree tee gic_version vuart sve llc_colors nr_spis trap_unmapped_accesses arm_sci",
    "it belongs to Arm",
  ),
  ...table("deprecated", "firmware_override", "write firmware; it is not yet honoured either"),
  ...table("deprecated", "extratime latency period slice", "it belonged to the SEDF scheduler, which Xen 4.6 removed"),
]);
