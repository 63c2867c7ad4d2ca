import assert from "node:assert/strict";
import { FrameKind, FrameSocket } from "../../handover/frames.ts";
import { OURS, SNAPSHOT_VERSION } from "../../handover/version.ts";
import { levelFilter } from "../../log/filter.ts";
import { createRecordLog } from "../../log/log.ts";
import type { ControlToWorker, FrozenItem, MovingRow, WorkerCommand } from "../../mail.ts";
import { duplicate } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { SHARED_WORDS } from "../../stats/shared.ts";
import { newUpgradeTotals } from "../../stats/upgrades.ts";
import type { UpgradeEnvironment } from "./environment.ts";
import { type RunningProcess, Upgrade } from "./upgrade.ts";

const NOTHING_LEFT: MovingRow = {
  unknownPool: 0,
  unknownFormat: 0,
  underWay: 0,
  refused: 0,
  consoles: 0,
  late: 0,
  frozen: 0,
  movedClients: 0,
  movedServers: 0,
  worker: 0,
};

/** An old process without workers of its own, and a new one that the test plays. */
class Service {
  /** Resolves when the new process has all, once this one has nothing left. */
  leaving: Promise<unknown> | undefined = undefined;
  readonly lines: string[] = [];
  readonly sent: [worker: number, mail: ControlToWorker][] = [];
  readonly commands: WorkerCommand["name"][] = [];
  readonly totals = newUpgradeTotals();
  readonly told: string[] = [];
  readonly exited: Promise<void>;
  readonly upgrade: Upgrade;
  /** The new process's end of the frames. */
  theirs: FrameSocket | undefined;
  row = { ...NOTHING_LEFT };
  rows = () => [this.row];
  shutdownTimeoutMs = 60_000;
  serving = 1;
  gone = false;
  readonly #ended = Promise.withResolvers<number>();

  constructor(program = "/bin/true") {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.exited = promise;
    const serving = () => this.serving;
    const environment: UpgradeEnvironment = {
      log: createRecordLog({
        filter: levelFilter("info"),
        emit: ({ message }) => this.lines.push(message),
      }),
      program: { path: program, prefix: [] },
      configFile: "pg_doorman.toml",
      supervisor: {
        shared: new SharedArrayBuffer(SHARED_WORDS * 4),
        get serving() {
          return serving();
        },
        askInTime: <T>(what: string) =>
          Promise.resolve((what === "moving" ? this.rows() : []) as unknown as T[]),
        command: ({ name }) => {
          this.commands.push(name);
          return Promise.resolve(0);
        },
        send: (worker, mail) => this.sent.push([worker, mail]) > 0,
        broadcast: (mail) => void this.sent.push([-1, mail]),
      },
      secrets: () => ({ mock: new Uint8Array(1), salt: new Uint8Array(1) }),
      totals: this.totals,
      directory: "/",
      variables: () => ({}),
      passedOn: [],
      launched: false,
      listeners: () => [],
      pools: () => ["a", "b"].map((database) => ({ database, user: "me" })),
      shutdownTimeoutMs: () => this.shutdownTimeoutMs,
      serveOn: () => void this.told.push("serve on"),
      handedOver: (pid) => void this.told.push(`handed over to ${pid}`),
      metrics: () => "metrics",
      exit: (gone) => {
        this.told.push("exit");
        this.leaving = gone;
        resolve();
      },
    };
    this.upgrade = new Upgrade(environment, ({ inherited }) => {
      this.theirs = new FrameSocket(duplicate(inherited.socket as Fd));
      return this.#process();
    });
  }

  #process(): RunningProcess {
    const isGone = () => this.gone;
    return {
      pid: 4711,
      get gone() {
        return isGone();
      },
      ready: () => Promise.resolve(),
      kill: () => this.end(),
      ended: () => this.#ended.promise,
    };
  }

  /** The new process ends. */
  end(): void {
    if (this.gone) return;
    this.gone = true;
    this.theirs?.close();
    this.#ended.resolve(1);
  }

  /** The new process says that it has pools `a` and `c`; resolves when everything is asked to move. */
  async ready(more: object = {}): Promise<void> {
    while (this.theirs === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal((await this.theirs.receive())!.kind, FrameKind.Init);
    await this.theirs.send(FrameKind.Ready, {
      pid: 4711,
      versions: [SNAPSHOT_VERSION],
      pools: ["a", "c"].map((database) => ({ database, user: "me" })),
      ...more,
    });
    assert.equal((await this.theirs.receive())!.kind, FrameKind.Begin);
    while (this.#mails("move").length === 0) await new Promise((r) => setTimeout(r, 1));
  }

  #mails(kind: ControlToWorker["kind"]): ControlToWorker[] {
    return this.sent.flatMap(([, mail]) => mail.kind === kind ? [mail] : []);
  }

  mail<Kind extends ControlToWorker["kind"]>(kind: Kind): ControlToWorker & { kind: Kind } {
    return this.#mails(kind)[0] as ControlToWorker & { kind: Kind };
  }

  /** A worker freezes these, and nothing else is left to move. */
  freeze(items: FrozenItem[], blobs?: number): void {
    this.row.frozen = items.length;
    this.row.late = 1;
    this.upgrade.frozen(0, { kind: "frozen", batch: 1, large: false, items, blobs });
  }
}

function session(content: unknown = {}, fds: number[] = []): FrozenItem {
  return { type: "session", database: "a", user: "me", fds, session: content };
}

Deno.test("upgrade: a program that refuses the configuration changes nothing", async () => {
  const service = new Service("/bin/false");
  await service.upgrade.begin("SIGUSR2 received");
  assert.equal(service.upgrade.phase, "idle");
  assert.deepEqual([service.totals.failed.validation, service.commands], [1, []]);
  assert.match(service.lines.at(-1)!, /BINARY UPGRADE ABORTED: this process serves on unchanged/);
});

Deno.test("upgrade: everything moves that both know, and the process ends", async () => {
  const service = new Service();
  service.row.late = 1;
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready({ apart: true, tls: true });
  assert.equal(service.upgrade.phase, "moving");
  assert.match(service.upgrade.obstacle()!, /under way \(moving\)/);
  assert.deepEqual(service.commands, ["stop_accepting"]);
  assert.deepEqual(service.mail("move"), {
    kind: "move",
    authQueries: [],
    pools: [{ database: "a", user: "me" }],
    apart: true,
    tls: true,
    whole: true,
  });
  const fds = [libc.eventfd(0, 0), libc.eventfd(0, 0)];
  service.freeze([session({ id: 7 }, [fds[0]!])], fds[1]!);
  const frame = (await service.theirs!.receive())!;
  assert.equal(frame.kind, FrameKind.Batch);
  assert.equal(frame.descriptors!.length, 2);
  const { version, worker, batch, apart, items } = frame.payload as Record<string, unknown>;
  assert.deepEqual([version, worker, batch, apart], [OURS.version, 0, 1, true]);
  assert.deepEqual(items, [session({ id: 7 }, [fds[0]!])]);
  await service.theirs!.send(FrameKind.Taken, { worker: 0, batch: 1, refused: [], again: false });
  while (service.mail("taken") === undefined) await new Promise((r) => setTimeout(r, 1));
  Object.assign(service.row, NOTHING_LEFT, { movedClients: 1 });
  assert.equal((await service.theirs!.receive())!.kind, FrameKind.Done);
  await service.exited;
  assert.deepEqual(service.told, ["handed over to 4711", "exit"]);
  assert.match(
    service.lines.at(-1)!,
    /moved 1 clients and 0 servers to process 4711, left behind 0/,
  );
  service.end();
  await over;
  await service.leaving;
  for (const fd of [fds[0] as Fd, ...frame.descriptors!]) libc.close(fd);
  assert.ok(libc.write(fds[1] as Fd, new Uint8Array(8), 8) < 0, "the file was closed when sent");
});

Deno.test("upgrade: what does not go into a frame stays, and nothing ends for it", async () => {
  const service = new Service();
  service.row.late = 1;
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  const { apart, tls } = service.mail("move");
  assert.ok(!apart && !tls, "an older program");
  const half = "x".repeat(300_000_000);
  service.freeze([session({ one: half }), session({ one: half, two: half })]);
  assert.deepEqual(service.mail("taken"), { kind: "taken", batch: 1, refused: [0, 1] });
  assert.match(service.lines.at(-1)!, /2 of worker 0 stay here: RangeError/);
  Object.assign(service.row, NOTHING_LEFT);
  assert.equal((await service.theirs!.receive())!.kind, FrameKind.Done);
  service.end();
  await over;
  await service.leaving;
});

Deno.test("upgrade: when the new process dies all comes back, and it can be tried again", async () => {
  const service = new Service();
  service.row.late = 1;
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  service.freeze([session()]);
  await service.theirs!.receive();
  service.end();
  await over;
  await service.leaving;
  assert.deepEqual(service.sent.slice(-2).map(([, { kind }]) => kind), ["move_failed", "listen"]);
  assert.deepEqual(service.told, ["serve on"]);
  assert.deepEqual([service.upgrade.obstacle(), service.totals.failed.died], [undefined, 1]);
});

Deno.test("upgrade: shutdown_timeout ends nobody who is frozen while the new process is silent", async () => {
  const service = new Service();
  service.row.late = 1;
  service.shutdownTimeoutMs = 0;
  service.row.frozen = 1;
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  service.freeze([session()]);
  await over;
  await service.leaving;
  assert.ok(!service.commands.includes("send_home"));
  assert.deepEqual([service.totals.failed.stuck, service.told], [1, ["serve on"]]);
  assert.match(service.lines.join("\n"), /has taken nothing for 5000 ms: killing it/);
});

Deno.test("upgrade: at shutdown_timeout what is left is sent home, and counted", async () => {
  const service = new Service();
  service.shutdownTimeoutMs = 0;
  Object.assign(service.row, { unknownPool: 3, consoles: 1, refused: 2 });
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  await service.exited;
  service.end();
  await over;
  await service.leaving;
  assert.ok(service.commands.includes("send_home"));
  assert.match(service.lines.at(-1)!, /left behind 6$/);
  assert.equal(service.totals.left.refused, 2);
});

Deno.test("upgrade: a batch is taken when the new process has thawed it, if it says so", async () => {
  const service = new Service();
  service.row.late = 1;
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready({ thaws: true });
  service.freeze([session(), session()]);
  await service.theirs!.receive();
  const one = { worker: 0, batch: 1 };
  await service.theirs!.send(FrameKind.Taken, { ...one, refused: [], again: false });
  while (service.mail("acknowledged") === undefined) await new Promise((r) => setTimeout(r, 1));
  assert.equal(service.mail("taken"), undefined);
  await service.theirs!.send(FrameKind.Thawed, { ...one, failed: [1] });
  while (service.mail("taken") === undefined) await new Promise((r) => setTimeout(r, 1));
  assert.deepEqual(service.mail("taken"), { kind: "taken", batch: 1, refused: [1] });
  Object.assign(service.row, NOTHING_LEFT);
  assert.equal((await service.theirs!.receive())!.kind, FrameKind.Done);
  service.end();
  await over;
  await service.leaving;
});

Deno.test("upgrade: a worker that hangs is not waited for beyond shutdown_timeout", async () => {
  const service = new Service();
  service.shutdownTimeoutMs = 50;
  service.rows = () => [];
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  await service.exited;
  service.end();
  await over;
  await service.leaving;
  assert.match(service.lines.join("\n"), /left behind and closed: .*all that 1 workers have/);
});

Deno.test("upgrade: goes on without a worker that is lost meanwhile, and what that had moved counts", async () => {
  const service = new Service();
  service.serving = 2;
  const other: MovingRow = { ...NOTHING_LEFT, worker: 1, movedClients: 3, movedServers: 1 };
  service.row.movedClients = 2;
  let asked = 0;
  let rows = [service.row, other];
  service.rows = () => {
    asked++;
    return rows;
  };
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready({ thaws: true });
  // It has a batch under way when it is lost.
  service.freeze([session({ id: 7 }), session({ id: 8 })]);
  assert.equal((await service.theirs!.receive())!.kind, FrameKind.Batch);
  const before = asked;
  while (asked < before + 2) await new Promise((r) => setTimeout(r, 1));
  rows = [other];
  service.serving = 1;
  await service.theirs!.send(FrameKind.Taken, { worker: 0, batch: 1, refused: [], again: false });
  await service.theirs!.send(FrameKind.Thawed, { worker: 0, batch: 1, failed: [] });
  assert.equal((await service.theirs!.receive())!.kind, FrameKind.Done);
  await service.exited;
  assert.match(service.lines.at(-1)!, /moved 5 clients and 1 servers to process 4711/);
  service.end();
  await over;
  await service.leaving;
});

Deno.test("upgrade: what a lost worker had moved is lost with a new process that dies", async () => {
  const service = new Service();
  service.serving = 2;
  let asked = 0;
  let rows: MovingRow[] = [{ ...NOTHING_LEFT, movedClients: 5, underWay: 1 }];
  service.rows = () => {
    asked++;
    return rows;
  };
  const over = service.upgrade.begin("SIGUSR2 received");
  await service.ready();
  while (asked < 2) await new Promise((r) => setTimeout(r, 1));
  rows = [];
  service.serving = 1;
  service.end();
  await over;
  assert.deepEqual(service.told, ["serve on"]);
  assert.equal(service.totals.lost, 5);
});
