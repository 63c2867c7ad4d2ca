import assert from "node:assert/strict";
import type { Settings } from "../../config/settings.ts";
import { FrameKind, FrameSocket } from "../../handover/frames.ts";
import { OURS, SNAPSHOT_VERSION } from "../../handover/version.ts";
import { levelFilter } from "../../log/filter.ts";
import { createRecordLog } from "../../log/log.ts";
import type { ControlToWorker, FrozenItem } from "../../mail.ts";
import { socketPair } from "../../os/fd_passing.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { Shared, SHARED_WORDS } from "../../stats/shared.ts";
import { newUpgradeTotals } from "../../stats/upgrades.ts";
import { Succession } from "./successor.ts";

type Mail<Kind extends ControlToWorker["kind"]> = ControlToWorker & { kind: Kind };

/** A new process with two workers; pool `a` lives on worker 0, `b` on 1. The test plays the old one, and the workers. */
class NewProcess {
  readonly lines: string[] = [];
  readonly sent: [worker: number, mail: ControlToWorker][] = [];
  /** Has no thread. */
  vacant = -1;
  readonly shared = new SharedArrayBuffer(SHARED_WORDS * 4);
  readonly old: FrameSocket;
  readonly succession: Succession;
  readonly over: Promise<boolean>;

  /** What it is to count on from, once nothing more will come. */
  readonly completed: unknown[] = [];

  private constructor(old: FrameSocket, succession: Succession) {
    this.old = old;
    this.succession = succession;
    this.over = succession.take({
      supervisor: {
        shared: this.shared,
        workers: 2,
        send: (worker, mail) => {
          if (this.vacant === worker) return false;
          this.sent.push([worker, mail]);
          return true;
        },
        broadcast: (mail) => void this.sent.push([-1, mail]),
      },
      settings: {
        pools: ["a", "b"].map((database, home) => ({ database, user: "me", home })),
        auth_queries: [],
      } as unknown as Settings,
      log: createRecordLog({
        filter: levelFilter("info"),
        emit: ({ message }) => this.lines.push(message),
      }),
      accepting: () => void this.lines.push("accepting"),
      complete: (metrics) => void this.completed.push(metrics),
    });
  }

  /** Begun: what was mailed so far is forgotten. */
  static async begun(more: object = { takesBack: true }): Promise<NewProcess> {
    const [ours, theirs] = socketPair();
    const old = new FrameSocket(ours);
    const totals = newUpgradeTotals();
    const secrets = { mock: new Uint8Array(1), salt: new Uint8Array(1) };
    await old.send(FrameKind.Init, { ...OURS, oldPid: 12, secrets, totals, ...more });
    const one = new NewProcess(old, await Succession.open({ socket: theirs, listeners: [] }));
    const { kind, payload } = (await old.receive())!;
    assert.equal(kind, FrameKind.Ready);
    const { apart, thaws, tls } = payload as Record<string, boolean>;
    assert.ok(apart && thaws && tls);
    await old.send(FrameKind.Begin, {
      lastClientId: 9,
      lastServerId: 5,
      lastStatementId: 3,
      schemaGeneration: 2,
      pools: [],
      counts: { total: 1, tls: 0, plain: 1, cancel: 0 },
    });
    await one.mail("listen");
    assert.deepEqual(one.sent.splice(0).map(([, { kind }]) => kind), ["expect", "listen"]);
    return one;
  }

  /** The next mail of this kind; whatever came before it is forgotten. */
  async mail<Kind extends ControlToWorker["kind"]>(kind: Kind): Promise<Mail<Kind>> {
    for (;;) {
      const at = this.sent.findIndex(([, mail]) => mail.kind === kind);
      if (at >= 0) return this.sent[at]![1] as Mail<Kind>;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** The worker has been told to thaw what it holds. */
  async thawing(ticket: number): Promise<void> {
    const isIt = ([, mail]: [number, ControlToWorker]) =>
      mail.kind === "thaw_held" && mail.ticket === ticket;
    while (!this.sent.some(isIt)) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** The old process sends a batch, with a descriptor for each item and one for their bytes if they are apart. */
  async batch(items: FrozenItem[], more: object = {}): Promise<void> {
    const fds = Array.from({ length: items.length + ("apart" in more ? 1 : 0) }, () => eventFd());
    items.forEach((item, i) => item.fds = [fds[i]!]);
    await this.old.send(FrameKind.Batch, {
      version: SNAPSHOT_VERSION,
      worker: 1,
      batch: 4,
      descriptors: fds.length,
      items,
      ...more,
    }, fds);
    for (const fd of fds) libc.close(fd);
  }

  async done(): Promise<boolean> {
    await this.old.send(FrameKind.Done, {
      reload: true,
      totals: newUpgradeTotals(),
      metrics: { counted: 7 },
    });
    const reload = await this.over;
    this.old.close();
    return reload;
  }
}

function eventFd(): Fd {
  return libc.eventfd(0, 0o4000) as Fd;
}

function isOpen(fd: number): boolean {
  return libc.fcntl(fd as Fd, 1, 0) >= 0;
}

function session(database: string, id: number): FrozenItem {
  return { type: "session", database, user: "me", fds: [], session: { state: { id } } };
}

Deno.test("succession: a batch is acknowledged when the workers hold it, and thawed after that", async () => {
  const process = await NewProcess.begun();
  assert.equal(Atomics.load(new Int32Array(process.shared), Shared.LastClientId), 9);
  await process.batch([session("a", 1), session("b", 2), session("a", 3)], { apart: true });
  await process.mail("hold");
  while (process.sent.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const held = process.sent.splice(0) as [number, Mail<"hold">][];
  const ids = held.map(([worker, { items }]) => [
    worker,
    ...items.map((item) => (item as { session: { state: { id: number } } }).session.state.id),
  ]);
  assert.deepEqual(ids, [[0, 1, 3], [1, 2]]);
  const files = held.map(([, { blobs }]) => blobs!);
  assert.ok(files[0] !== files[1] && files.every(isOpen), "each has the file to itself");

  let acknowledged = false;
  const taken = process.old.receive().then((frame) => {
    acknowledged = true;
    return frame;
  });
  process.succession.held(held[0]![1].ticket, []);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual([acknowledged, process.sent.length], [false, 0]);
  // The second worker can't have its only one.
  process.succession.held(held[1]![1].ticket, [0]);
  assert.deepEqual((await taken)!.payload, { worker: 1, batch: 4, refused: [1], again: false });
  await process.mail("thaw_held");
  assert.deepEqual(process.sent.map(([worker, { kind }]) => [worker, kind]), [
    [0, "thaw_held"],
    [1, "thaw_held"],
  ]);
  assert.ok((await process.mail("thaw_held")).returns);
  // The second client of the first worker can't live.
  process.succession.thawed(held[0]![1].ticket, [1]);
  process.succession.thawed(held[1]![1].ticket, []);
  const thawed = (await process.old.receive())!;
  assert.equal(thawed.kind, FrameKind.Thawed);
  assert.deepEqual(thawed.payload, { worker: 1, batch: 4, failed: [2] });
  assert.ok(await process.done());
  assert.match(process.lines.at(-1)!, /hand-over from process 12 complete: took 1 clients/);
  assert.deepEqual(process.completed, [{ counted: 7 }]);
  assert.equal(process.succession.totals.lost, 0);
  for (const [, { items, blobs }] of held) {
    libc.close(blobs as Fd);
    for (const { fds } of items) libc.close(fds[0] as Fd);
  }
});

Deno.test("succession: what has no pool here is refused and closed", async () => {
  const process = await NewProcess.begun();
  await process.batch([session("elsewhere", 1)]);
  assert.deepEqual((await process.old.receive())!.payload, {
    worker: 1,
    batch: 4,
    refused: [0],
    again: false,
  });
  assert.equal(process.sent.length, 0);
  assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
  await process.done();
});

Deno.test("succession: a batch of another version is refused whole", async () => {
  const process = await NewProcess.begun();
  await process.batch([session("a", 1), session("b", 2)], { version: SNAPSHOT_VERSION + 1 });
  const { refused } = (await process.old.receive())!.payload as { refused: number[] };
  assert.deepEqual(refused, [0, 1]);
  assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
  await process.done();
});

Deno.test("succession: a cancel request waits for a client that has come and is not thawed", async () => {
  const process = await NewProcess.begun();
  await process.batch([session("a", 8)]);
  const { ticket, items } = await process.mail("hold");
  process.sent.length = 0;
  await process.succession.cancel(8, Uint8Array.of(1));
  assert.equal(process.sent.length, 0);
  process.succession.held(ticket, []);
  assert.equal((await process.old.receive())!.kind, FrameKind.Taken);
  await process.mail("thaw_held");
  process.succession.thawed(ticket, []);
  assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
  await process.mail("cancel");
  assert.deepEqual(process.sent.map(([, { kind }]) => kind), ["thaw_held", "cancel"]);
  // One that is not here is the old process's.
  const passedOn = process.succession.cancel(9, Uint8Array.of(1));
  assert.equal((await process.old.receive())!.kind, FrameKind.Cancel);
  await passedOn;
  await process.done();
  libc.close(items[0]!.fds[0] as Fd);
});

Deno.test("succession: when the old process ends in the middle, what was taken stays", async () => {
  const process = await NewProcess.begun();
  process.old.close();
  assert.ok(!(await process.over));
  assert.match(process.lines.at(-1)!, /the old process ended in the middle: took 0 clients/);
  assert.deepEqual(process.completed, [undefined]);
  assert.equal(process.succession.totals.failed.old_process_ended, 1);
  assert.equal(process.sent.at(-1)![1].kind, "expect_over");
});

Deno.test("succession: what an old process can't have back is lost, and counted", async () => {
  const process = await NewProcess.begun({});
  await process.batch([session("a", 8)]);
  const { ticket, items } = await process.mail("hold");
  process.succession.held(ticket, []);
  assert.ok(!(await process.mail("thaw_held")).returns);
  process.succession.thawed(ticket, [0]);
  await process.done();
  assert.match(process.lines.at(-1)!, /complete: took 0 clients/);
  assert.equal(process.succession.totals.lost, 1);
  libc.close(items[0]!.fds[0] as Fd);
});

Deno.test("succession: what is small passes what is large and came before it", async () => {
  const process = await NewProcess.begun();
  await process.batch([session("a", 1)], { batch: 1 });
  await process.batch([session("a", 2)], { batch: 2, large: true });
  await process.batch([session("a", 3)], { batch: 3 });
  const ids = () =>
    process.sent.flatMap(([, mail]) =>
      mail.kind !== "hold"
        ? []
        : mail.items.map((item) =>
          (item as { session: { state: { id: number } } }).session.state.id
        )
    );
  const first = await process.mail("hold");
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.deepEqual(ids(), [1], "both may need what comes first");
  const finish = async ({ ticket }: Mail<"hold">) => {
    process.succession.held(ticket, []);
    const taken = (await process.old.receive())!;
    assert.equal(taken.kind, FrameKind.Taken);
    await process.thawing(ticket);
    process.succession.thawed(ticket, []);
    assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
    return (taken.payload as { batch: number }).batch;
  };
  assert.equal(await finish(first), 1);
  while (ids().length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  const [, large, small] = process.sent.map(([, mail]) => mail).filter(({ kind }) =>
    kind === "hold"
  ) as Mail<"hold">[];
  assert.equal(await finish(small!), 3);
  process.sent.length = 0;
  // Its client is not thawed, and the other one is.
  await process.succession.cancel(2, Uint8Array.of(1));
  assert.ok(!process.sent.some(([, { kind }]) => kind === "cancel"));
  assert.equal(await finish(large!), 2);
  await process.mail("cancel");
  await process.done();
  assert.match(process.lines.at(-1)!, /complete: took 3 clients/);
});

Deno.test("succession: what a worker had in hand that is lost goes back, and the others' clients come", async () => {
  const process = await NewProcess.begun();
  await process.batch([session("a", 1), session("b", 2)]);
  await process.mail("hold");
  while (process.sent.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  const [, [, other]] = process.sent.splice(0) as [number, Mail<"hold">][];
  // Before it held its part.
  process.succession.lost(0);
  process.succession.held(other!.ticket, []);
  const taken = (await process.old.receive())!;
  assert.deepEqual(taken.payload, { worker: 1, batch: 4, refused: [0], again: false });
  await process.thawing(other!.ticket);
  process.succession.lost(0);
  process.succession.thawed(other!.ticket, []);
  assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
  // And while it thaws: what it had begun with is shut down, so it goes back whole.
  process.sent.length = 0;
  await process.batch([session("a", 3), session("a", 4)], { batch: 5 });
  const { ticket } = await process.mail("hold");
  process.succession.held(ticket, []);
  assert.equal((await process.old.receive())!.kind, FrameKind.Taken);
  await process.thawing(ticket);
  process.succession.lost(0);
  assert.deepEqual((await process.old.receive())!.payload, { worker: 1, batch: 5, failed: [0, 1] });
  process.succession.lost(1);
  // One that is not replaced yet gets nothing.
  process.vacant = 0;
  process.sent.length = 0;
  await process.batch([session("a", 5), session("b", 6)], { batch: 6 });
  const { ticket: third, items } = await process.mail("hold");
  process.succession.held(third, []);
  const { payload } = (await process.old.receive())!;
  assert.deepEqual(payload, { worker: 1, batch: 6, refused: [0], again: false });
  await process.thawing(third);
  process.succession.thawed(third, []);
  assert.equal((await process.old.receive())!.kind, FrameKind.Thawed);
  assert.ok(await process.done());
  assert.match(process.lines.at(-1)!, /complete: took 2 clients/);
  libc.close(items[0]!.fds[0] as Fd);
});
