import { describe, expect, it } from "vitest";
import { EVTCHNOP_send, EVTCHNOP_status } from "../../../hypervisor/abi/evtchn.ts";
import {
  HVM_PARAM_CONSOLE_EVTCHN,
  HVM_PARAM_CONSOLE_PFN,
  HVM_PARAM_STORE_EVTCHN,
  HVM_PARAM_STORE_PFN,
} from "../../../hypervisor/abi/hvm.ts";
import { DOMID_SELF } from "../../../hypervisor/abi/xen.ts";
import { BACKEND_DELAY } from "../../../hypervisor/daemons/backend-end.ts";
import { Daemons } from "../../../hypervisor/daemons/daemons.ts";
import { destroyDomain } from "../../../hypervisor/domain/create.ts";
import { auditMemory } from "../../../hypervisor/memory/audit.ts";
import { decodeHeader, encodeMessage, XS_READ } from "../../../hypervisor/xenstore/wire.ts";
import { Caller, SCRATCH } from "../calls.ts";
import { FakeMachine } from "../fake-machine.ts";

const STORE = 40;
const CONSOLE = 41;
const OUT_CONS = CONSOLE * 4096 + 3080;
const OUT_PROD = CONSOLE * 4096 + 3084;

function machine(): { daemons: Daemons; guest: Caller; fake: FakeMachine; later: (cycles?: number) => void } {
  const fake = new FakeMachine();
  const daemons = new Daemons(fake.hv);
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i * 17);
  const guest = new Caller(fake.domain({ name: "pvh-domu", uuid, maxVcpus: 2 }));
  guest.domain.params[HVM_PARAM_STORE_PFN] = BigInt(STORE);
  guest.domain.params[HVM_PARAM_CONSOLE_PFN] = BigInt(CONSOLE);
  daemons.introduce(guest.domain, { type: "pvh", memory: 262144, maxMemory: 524288, vcpus: 1 });
  const later = (cycles = BACKEND_DELAY): void => {
    fake.hv.turn.cycle += cycles;
    fake.hv.queue.run(fake.hv.turn.cycle);
  };
  return { daemons, guest, fake, later };
}

const port = (guest: Caller, param: number): number => Number(guest.domain.params[param]);

function write(guest: Caller, text: string): void {
  const prod = guest.get(OUT_PROD, 4);
  [...new TextEncoder().encode(text)].forEach((byte, i) => {
    guest.put(CONSOLE * 4096 + 1024 + ((prod + i) & 2047), [1, byte]);
  });
  guest.put(OUT_PROD, [4, prod + text.length]);
  expect(guest.evtchn(EVTCHNOP_send, [4, port(guest, HVM_PARAM_CONSOLE_EVTCHN)])).toBe(0);
}

describe("the console", () => {
  it("gives what the guest writes to listeners a fixed time after its event, and signals back", () => {
    const { guest, fake, later } = machine();
    const heard: [string, number][] = [];
    guest.domain.console!.onOutput((bytes, cycle) => heard.push([new TextDecoder().decode(bytes), cycle]));
    write(guest, "hel");
    write(guest, "lo");
    const due = fake.hv.queue.next;
    later(BACKEND_DELAY - 1000);
    expect(heard).toEqual([]);
    later();
    expect(heard.map(([text]) => text)).toEqual(["hello"]);
    expect(heard[0]![1]).toBeGreaterThanOrEqual(due);
    expect(guest.get(OUT_CONS, 4)).toBe(5);
    expect(guest.events.isPending(port(guest, HVM_PARAM_CONSOLE_EVTCHN))).toBe(true);
  });

  it("keeps typed bytes until the guest has room, in order", () => {
    const { guest, later } = machine();
    const text = Uint8Array.from({ length: 2500 }, (_, i) => i % 251);
    guest.domain.console!.input(text.subarray(0, 700));
    guest.domain.console!.input(text.subarray(700));
    const got: number[] = [];
    for (let round = 0; round < 4; round++) {
      later();
      const [cons, prod] = [guest.get(CONSOLE * 4096 + 3072, 4), guest.get(CONSOLE * 4096 + 3076, 4)];
      expect(prod - cons).toBeLessThanOrEqual(1024);
      for (let i = cons; i < prod; i++) got.push(guest.get(CONSOLE * 4096 + (i & 1023), 1));
      guest.put(CONSOLE * 4096 + 3072, [4, prod]);
      guest.evtchn(EVTCHNOP_send, [4, port(guest, HVM_PARAM_CONSOLE_EVTCHN)]);
    }
    expect(got).toEqual([...text]);
  });

  it("types at the cycle it is told", () => {
    const { guest, fake, later } = machine();
    guest.domain.console!.input(Uint8Array.of(65), fake.hv.now() + 30_000);
    later(29_000);
    expect(guest.get(CONSOLE * 4096 + 3076, 4)).toBe(0);
    later(1_000);
    expect(guest.get(CONSOLE * 4096 + 3076, 4)).toBe(1);
  });

  it("still brings out what a domain wrote just before it shut down", () => {
    const { daemons, guest } = machine();
    let heard = "";
    guest.domain.console!.onOutput((bytes) => {
      heard += new TextDecoder().decode(bytes);
    });
    write(guest, "last words");
    daemons.shutdown(guest.domain);
    expect(heard).toBe("last words");
  });
});

describe("the store", () => {
  it("answers a request in the guest's ring", () => {
    const { guest, later } = machine();
    const request = encodeMessage(XS_READ, 7, 0, new TextEncoder().encode("name\0"));
    request.forEach((byte, i) => {
      guest.put(STORE * 4096 + i, [1, byte]);
    });
    guest.put(STORE * 4096 + 2052, [4, request.length]);
    guest.evtchn(EVTCHNOP_send, [4, port(guest, HVM_PARAM_STORE_EVTCHN)]);
    later();
    const reply = Uint8Array.from({ length: 24 }, (_, i) => guest.get(STORE * 4096 + 1024 + i, 1));
    expect(decodeHeader(reply)).toMatchObject({ type: XS_READ, requestId: 7, length: 8 });
    expect(new TextDecoder().decode(reply.subarray(16))).toBe("pvh-domu");
    expect(guest.events.isPending(port(guest, HVM_PARAM_STORE_EVTCHN))).toBe(true);
  });

  it("shows the guest domain 0 at the other end of both channels", () => {
    const { guest } = machine();
    for (const param of [HVM_PARAM_STORE_EVTCHN, HVM_PARAM_CONSOLE_EVTCHN]) {
      expect(guest.evtchn(EVTCHNOP_status, [4, DOMID_SELF], [4, port(guest, param)], [0, 16])).toBe(0);
      expect([guest.get(SCRATCH + 8, 4), guest.get(SCRATCH + 16, 2)]).toEqual([2, 0]);
      expect(guest.get(SCRATCH + 20, 4)).toBeGreaterThan(0);
    }
  });

  it("has the entries that xl writes for a PVH domain, in xl's order and with its permissions", () => {
    const { daemons } = machine();
    const lines = daemons.store
      .dump()
      .split("\n")
      .filter((line) => line.startsWith("/local/domain/1"));
    expect(lines).toEqual([
      '/local/domain/1 = ""   (n0,r1)',
      '/local/domain/1/vm = "/vm/00112233-4455-6677-8899-aabbccddeeff"   (n0,r1)',
      '/local/domain/1/name = "pvh-domu"   (n0,r1)',
      '/local/domain/1/cpu = ""   (n0,r1)',
      '/local/domain/1/cpu/0 = ""   (n0,r1)',
      '/local/domain/1/cpu/0/availability = "online"   (n0,r1)',
      '/local/domain/1/cpu/1 = ""   (n0,r1)',
      '/local/domain/1/cpu/1/availability = "offline"   (n0,r1)',
      '/local/domain/1/memory = ""   (n0,r1)',
      '/local/domain/1/memory/static-max = "524288"   (n0,r1)',
      '/local/domain/1/memory/target = "262144"   (n0,r1)',
      '/local/domain/1/memory/videoram = "0"   (n0,r1)',
      '/local/domain/1/device = ""   (n0,r1)',
      '/local/domain/1/device/suspend = ""   (n0,r1)',
      '/local/domain/1/device/suspend/event-channel = ""   (n1)',
      '/local/domain/1/control = ""   (n0,r1)',
      '/local/domain/1/control/shutdown = ""   (n1)',
      '/local/domain/1/control/feature-poweroff = ""   (n1)',
      '/local/domain/1/control/feature-reboot = ""   (n1)',
      '/local/domain/1/control/feature-suspend = ""   (n1)',
      '/local/domain/1/control/sysrq = ""   (n1)',
      '/local/domain/1/control/platform-feature-multiprocessor-suspend = "1"   (n0,r1)',
      '/local/domain/1/control/platform-feature-xs_reset_watches = "1"   (n0,r1)',
      '/local/domain/1/data = ""   (n1)',
      '/local/domain/1/drivers = ""   (n1)',
      '/local/domain/1/feature = ""   (n1)',
      '/local/domain/1/attr = ""   (n1)',
      '/local/domain/1/error = ""   (n1)',
      '/local/domain/1/domid = "1"   (n0,r1)',
      '/local/domain/1/store = ""   (n0,r1)',
      '/local/domain/1/store/port = "1"   (n0,r1)',
      '/local/domain/1/store/ring-ref = "40"   (n0,r1)',
      '/local/domain/1/console = ""   (n0,r1)',
      '/local/domain/1/console/backend = "/local/domain/0/backend/console/1/0"   (n0,r1)',
      '/local/domain/1/console/backend-id = "0"   (n1,r0)',
      '/local/domain/1/console/limit = "1048576"   (n0,r1)',
      '/local/domain/1/console/type = "xenconsoled"   (n0,r1)',
      '/local/domain/1/console/output = "pty"   (n0,r1)',
      '/local/domain/1/console/tty = ""   (n0,r1)',
      '/local/domain/1/console/port = "2"   (n0,r1)',
      '/local/domain/1/console/ring-ref = "41"   (n0,r1)',
    ]);
  });
});

it("releases the rings, the entries and the frames of a domain", () => {
  const { daemons, guest, fake } = machine();
  expect(auditMemory(fake.hv, daemons.frames())).toEqual([]);
  expect(daemons.frames()).toHaveLength(2);
  daemons.shutdown(guest.domain);
  daemons.release(guest.domain);
  destroyDomain(guest.domain);
  expect(daemons.frames()).toEqual([]);
  expect(daemons.client.ls("/local/domain")).toEqual(["0"]);
  expect(daemons.client.ls("/vm")).toEqual([]);
  expect(auditMemory(fake.hv)).toEqual([]);
  expect(fake.hv.heap.ownedBy(guest.domain.domid)).toBe(0);
});
