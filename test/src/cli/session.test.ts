import { expect, test } from "vitest";
import { Session, type SessionOptions } from "../../../src/cli/session.ts";
import { parseScript } from "../../../src/toolstack/script/parse.ts";
import type { ShutdownActions } from "../../../src/toolstack/xlcfg/domain.ts";
import { type FakeGuest, FakeMachine } from "../../support/fake-machine.ts";

const DESTROY: ShutdownActions = {
  poweroff: "destroy",
  reboot: "destroy",
  watchdog: "destroy",
  crash: "destroy",
  softReset: "destroy",
};

/** Prints a prompt late in its boot, answers what is typed, and powers off on `poweroff`. */
const shell = (name: string): FakeGuest => ({
  name,
  boot: (guest) => {
    guest.print(1_000, "Linux version 6.1\r\n");
    guest.print(3_000_000, "guest type \u001b[1mPVH\u001b[0m\r\n~ # ");
  },
  typed: (guest, text) => {
    if (text === "poweroff\n") guest.shutdown(5_000, "poweroff");
    else guest.print(2_000, `got ${text}~ # `);
  },
});

const endsWith = (name: string, reason: "poweroff" | "reboot" | "crash", after = 1000): FakeGuest => ({
  name,
  boot: (guest) => {
    guest.print(10, `${name} says hello\nand `);
    guest.shutdown(after, reason);
  },
});

async function play(guests: FakeGuest[], options: Partial<SessionOptions> = {}, input?: (session: Session) => void) {
  const machine = new FakeMachine(guests);
  let shown = "";
  let logged = "";
  const messages: string[] = [];
  const recorded: string[] = [];
  const decoder = new TextDecoder();
  const session = new Session(
    machine,
    { domains: guests.map(({ name }) => ({ name, actions: DESTROY })), realtime: false, ...options },
    {
      console: (bytes) => {
        shown += decoder.decode(bytes);
      },
      log: (bytes) => {
        logged += decoder.decode(bytes);
      },
      record: (statement) => void recorded.push(statement),
      message: (text) => void messages.push(text),
    },
  );
  input?.(session);
  const exitCode = await session.run();
  session.flush();
  return { exitCode, shown, logged, messages: messages.join("\n"), recorded, machine };
}

test("a domain that powers off ends the run with 0", async () => {
  const { exitCode, shown, messages } = await play([endsWith("a", "poweroff")]);
  expect(exitCode).toBe(0);
  expect(shown).toBe("a says hello\nand ");
  expect(messages).toContain("a (domain 1): poweroff at cycle 1000");
});

test("a crash ends with 4 and shows the registers", async () => {
  const { exitCode, messages } = await play([endsWith("a", "crash"), endsWith("b", "poweroff", 9000)]);
  expect(exitCode).toBe(4);
  expect(messages).toContain("RIP: 0010:");
  expect(messages).toContain("b (domain 2): poweroff at cycle 9000");
});

test("on_crash = restart builds the domain anew, and its crash does not count", async () => {
  let boots = 0;
  const guest: FakeGuest = {
    name: "a",
    boot: (port) => port.shutdown(1000, boots++ === 0 ? "crash" : "poweroff"),
  };
  const { exitCode, messages, machine } = await play([guest], {
    domains: [{ name: "a", actions: { ...DESTROY, crash: "restart" } }],
  });
  expect(exitCode).toBe(0);
  expect(messages).toContain("a: restarted as domain 2");
  expect(machine.cycle).toBe(2000);
});

test("--expect ends with 0 on a matching line, without its colours, and on an unfinished line", async () => {
  const line = await play([shell("a")], { expect: /^guest type PVH$/ });
  expect(line.exitCode).toBe(0);
  const prompt = await play([shell("a")], { expect: /^~ # $/ });
  expect(prompt.exitCode).toBe(0);
  expect(prompt.machine.cycle).toBe(3_000_000);
});

test("--expect that never matches ends with 3 when the domains are gone", async () => {
  const { exitCode, messages } = await play([endsWith("a", "poweroff")], { expect: /login:/ });
  expect(exitCode).toBe(3);
  expect(messages).toContain("no console line matched --expect login:");
});

test("--max-cycles ends at that cycle with 0, or with 3 when something is still expected", async () => {
  const { exitCode, machine } = await play([shell("a")], { maxCycles: 123_456 });
  expect(exitCode).toBe(0);
  expect(machine.cycle).toBe(123_456);
  expect((await play([shell("a")], { maxCycles: 123_456, expect: /PVH/ })).exitCode).toBe(3);
});

test("--timeout ends with 3", async () => {
  const ticking: FakeGuest = {
    name: "a",
    boot: (guest) => {
      for (let i = 0; i < 2000; i++) guest.print(i * 20_000_000, ".");
    },
  };
  const { exitCode, messages } = await play([ticking], { timeout: 0.05, realtime: true });
  expect(exitCode).toBe(3);
  expect(messages).toContain("--timeout 0.05 s");
});

test("a machine that nothing can wake ends with 3", async () => {
  const { exitCode, messages } = await play([shell("a")]);
  expect(exitCode).toBe(3);
  expect(messages).toContain("nothing is left to wake one");
});

test("typed input reaches the guest, is recorded, and the record repeats it at the same cycles", async () => {
  const live = await play([shell("a")], {}, (session) => {
    session.inputOpen = true;
    setTimeout(() => session.input(new TextEncoder().encode('say "hi"\n')), 5);
    setTimeout(() => session.input(new TextEncoder().encode("poweroff\n")), 25);
  });
  expect(live.exitCode).toBe(0);
  expect(live.shown).toContain('got say "hi"\n');
  expect(live.recorded).toHaveLength(2);
  const again = await play([shell("a")], { script: parseScript(live.recorded.join("\n"), "record") });
  expect(again.shown).toBe(live.shown);
  expect(again.machine.typed).toEqual(live.machine.typed);
  expect(again.machine.cycle).toBe(live.machine.cycle);
});

test("a script answers what it expects, a fixed delay of cycles later, and live input is off", async () => {
  const script = parseScript('expect ^~ # \nsend "one\\n"\nexpect got one\nwait 500\nsend "poweroff\\n"', "s");
  const { exitCode, machine } = await play([shell("a")], { script }, (session) => {
    session.inputOpen = true;
    session.input(new TextEncoder().encode("nobody hears this"));
  });
  expect(exitCode).toBe(0);
  expect(machine.typed).toEqual([
    [4_000_000, 1, "one\n"],
    [5_002_500, 1, "poweroff\n"],
  ]);
});

test("a script's end ends the run with 0, and an unmet expect with 3", async () => {
  const ended = await play([shell("a")], { script: parseScript("expect PVH\nwait 7\nend", "s") });
  expect(ended.exitCode).toBe(0);
  const unmet = await play([endsWith("a", "poweroff")], { script: parseScript("\nexpect never", "s") });
  expect(unmet.exitCode).toBe(3);
  expect(unmet.messages).toContain("s:2: expect never was not seen");
});

test("several consoles bear their names, on the terminal and in the log", async () => {
  const { shown, logged } = await play([endsWith("a", "poweroff"), endsWith("bb", "poweroff", 2000)]);
  expect(shown).toBe("a| a says hello\nbb| bb says hello\na| and \nbb| and \n");
  expect(logged).toBe(shown);
});

test("--console shows one console as it is, types into it, and logs all", async () => {
  const { shown, logged, machine } = await play(
    [endsWith("a", "poweroff"), shell("b")],
    { console: "b", expect: /got x/ },
    (session) => {
      session.inputOpen = true;
      session.input(new TextEncoder().encode("x\n"));
    },
  );
  expect(shown).toBe("Linux version 6.1\r\ngot x\n~ # ");
  expect(logged).toContain("a| a says hello\n");
  expect(logged).toContain("b| Linux version 6.1\n");
  expect(machine.typed).toEqual([[1, 2, "x\n"]]);
});

test("script steps can talk to any console", async () => {
  const script = parseScript(
    'console b\nexpect ~ #\nsend "poweroff\\n"\nconsole a\nexpect ~ #\nsend "poweroff\\n"',
    "s",
  );
  const { exitCode, machine } = await play([shell("a"), shell("b")], { script });
  expect(exitCode).toBe(0);
  expect(machine.typed.map(([, domid]) => domid)).toEqual([2, 1]);
});
