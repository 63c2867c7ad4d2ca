import assert from "node:assert/strict";
import { type MessagePort as NodeMessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { ControlToWorker, WorkerToControl } from "../mail.ts";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { ofWorker, Own, SHARED_WORDS } from "../stats/shared.ts";
import { Mailbox, type Recipients } from "./mailbox.ts";

const NONBLOCK = 0o4000;

/** What a recipient was told: its name, then what it was given. */
type Told = [name: string, ...given: unknown[]];

/** A worker with index 1 whose parts write down what they are told. */
class Post {
  readonly told: Told[] = [];
  readonly shared = new SharedArrayBuffer(SHARED_WORDS * 4);
  readonly given = new SharedArrayBuffer(64 * 4);
  readonly control = new MessageChannel();
  readonly peer = new MessageChannel();
  readonly wakeFd = libc.eventfd(0, NONBLOCK) as Fd;
  readonly peerFd = libc.eventfd(0, NONBLOCK) as Fd;
  departing = true;
  readonly mailbox: Mailbox;

  constructor() {
    const note = (name: string) => (...given: unknown[]) => void this.told.push([name, ...given]);
    const departure = {
      acknowledged: note("acknowledged"),
      taken: note("taken"),
      notTaken: note("notTaken"),
    };
    const isDeparting = () => this.departing;
    const recipients: Recipients = {
      log: { setFilter: note("setFilter") },
      clients: { takeOver: note("takeOver") },
      requests: {
        resolved: note("resolved"),
        derived: note("derived"),
        checked: note("checked"),
        serverPasswordIs: note("serverPasswordIs"),
      },
      listeners: { open: note("open") },
      tryLogins: note("tryLogins"),
      get departure() {
        return isDeparting() ? departure : undefined;
      },
      holding: {
        take: (ticket: number, _: unknown, __: unknown, done: (refused: number[]) => void) =>
          done([ticket]),
        release: (ticket: number) => {
          this.told.push(["release", ticket]);
          return [];
        },
      } as unknown as Recipients["holding"],
      depart: note("depart"),
      departureFailed: note("departureFailed"),
      expect: note("expect"),
      thaw: note("thaw"),
      thawHeld: (held, returns) => {
        this.told.push(["thawHeld", held, returns]);
        return [2];
      },
      thawOver: note("thawOver"),
      cancelHere: note("cancelHere"),
      cancelThrough: note("cancelThrough"),
      peerReplaced: note("peerReplaced"),
      consoleAnswer: note("consoleAnswer"),
      apply: () => ({ worker: 1, tookMs: 5 }),
      *rows(what, most) {
        for (let piece = 1; what === "clients" && piece < 3; piece++) yield [piece];
        return [what, most];
      },
      obey: ({ name }) => name.length,
    };
    this.mailbox = new Mailbox({
      mail: { index: 1, shared: this.shared, wakeFd: this.wakeFd, given: this.given },
      control: this.control.port2,
      peers: [{ index: 0, wakeFd: this.peerFd, port: this.peer.port2 }],
    }, recipients);
  }

  /** Delivers mail of the control plane; what the worker's parts were told. */
  deliver(...mail: ControlToWorker[]): Told[] {
    for (const one of mail) this.control.port1.postMessage(new Map([["mail", one]]));
    this.mailbox.onReady();
    return this.told.splice(0);
  }

  answer(mail: ControlToWorker): WorkerToControl | undefined {
    assert.deepEqual(this.deliver(mail), []);
    return taken(this.control.port1) as WorkerToControl | undefined;
  }

  [Symbol.dispose](): void {
    for (const { port1, port2 } of [this.control, this.peer]) {
      port1.close();
      port2.close();
    }
    libc.close(this.wakeFd);
    libc.close(this.peerFd);
  }
}

function taken(port: MessagePort): unknown {
  return receiveMessageOnPort(port as unknown as NodeMessagePort)?.message;
}

Deno.test("mailbox: each mail goes to whom it is for, in the order that it came", () => {
  using post = new Post();
  const pools = [{ database: "db", user: "me" }];
  const counts = { total: 1, tls: 0, plain: 1, cancel: 0 };
  const secret = Uint8Array.of(1);
  const told = post.deliver(
    { kind: "listen", listeners: [{ fd: 9, transport: "tcp" }] },
    { kind: "expect", pools, counts },
    { kind: "thaw_held", ticket: 6, returns: true },
    { kind: "expect_over" },
    { kind: "cancel", processId: 7, secret },
    { kind: "admin_reply", client: 3, bytes: secret, close: true },
    { kind: "resolved", request: 1, addresses: ["::1"], error: undefined },
    { kind: "derived", request: 2, saltedPassword: secret },
  );
  assert.deepEqual(told, [
    ["open", [{ fd: 9, transport: "tcp" }]],
    ["expect", pools, counts],
    ["release", 6],
    ["thawHeld", [], true],
    ["thawOver", undefined],
    ["cancelHere", 7, secret, undefined],
    ["consoleAnswer", 3, secret, true],
    ["resolved", 1, ["::1"], undefined],
    ["derived", 2, secret],
  ]);
  assert.deepEqual(taken(post.control.port1), { kind: "thawed", ticket: 6, failed: [2] });
});

Deno.test("mailbox: what an upgrade says goes to the departure that is under way, or nowhere", () => {
  using post = new Post();
  const upgrade = [
    { kind: "acknowledged", batch: 4, refused: [2] },
    { kind: "taken", batch: 4, refused: [1] },
    { kind: "not_taken", batch: 5 },
  ] satisfies ControlToWorker[];
  assert.deepEqual(post.deliver(...upgrade), [
    ["acknowledged", 4, [2]],
    ["taken", 4, [1]],
    ["notTaken", 5],
  ]);
  post.departing = false;
  const move = {
    kind: "move",
    pools: [],
    authQueries: [],
    apart: true,
    tls: true,
    whole: true,
  } as const satisfies ControlToWorker;
  assert.deepEqual(post.deliver(...upgrade), []);
  assert.deepEqual(
    post.deliver(move, { kind: "move_failed" }),
    [
      ["depart", move],
      ["departureFailed"],
    ],
  );
});

Deno.test("mailbox: of a long answer one piece a turn is made", () => {
  using post = new Post();
  const told = () => taken(post.control.port1);
  post.deliver({ kind: "ask", request: 4, what: "clients" });
  assert.deepEqual(told(), { kind: "answer", request: 4, rows: [1], more: true });
  assert.equal(told(), undefined);
  post.deliver({ kind: "ask", request: 5, what: "presence", most: 7 });
  assert.deepEqual(told(), { kind: "answer", request: 4, rows: [2], more: true });
  assert.deepEqual(told(), { kind: "answer", request: 5, rows: ["presence", 7] });
  // It has woken itself.
  assert.equal(libc.read(post.wakeFd, new Uint8Array(8), 8), 8);
  post.mailbox.onReady();
  assert.deepEqual(told(), { kind: "answer", request: 4, rows: ["clients", undefined] });
  assert.equal(told(), undefined);
});

Deno.test("mailbox: questions and orders are answered under their number", () => {
  using post = new Post();
  assert.deepEqual(post.answer({ kind: "ask", request: 4, what: "pools", most: 3 }), {
    kind: "answer",
    request: 4,
    rows: ["pools", 3],
  });
  const command = { name: "kill", database: "db" } as const;
  assert.deepEqual(post.answer({ kind: "command", request: 5, command }), {
    kind: "answer",
    request: 5,
    rows: [4],
  });
  const lists = { places: [], pools: [], gone: [], authQueries: [], goneAuthQueries: [] };
  const change = { general: undefined, ...lists };
  assert.deepEqual(post.answer({ kind: "settings", request: 6, change }), {
    kind: "answer",
    request: 6,
    rows: [{ worker: 1, tookMs: 5 }],
  });
});

Deno.test("mailbox: what comes with an upgrade is held first, and the control plane hears of it", () => {
  using post = new Post();
  assert.deepEqual(post.answer({ kind: "hold", ticket: 9, items: [], blobs: undefined }), {
    kind: "held",
    ticket: 9,
    refused: [9],
  });
});

Deno.test("mailbox: a ping raises this worker's heartbeat and no other", () => {
  using post = new Post();
  assert.equal(post.answer({ kind: "ping" }), undefined);
  const words = new Int32Array(post.shared);
  assert.deepEqual([...words].flatMap((n, at) => n === 0 ? [] : [at]), [
    ofWorker(1, Own.Heartbeats),
  ]);
});

Deno.test("mailbox: mail of and for other workers wakes them", () => {
  using post = new Post();
  const over = { kind: "thaw_over", database: "db", user: "me" } as const;
  const session = { state: { id: 1 } };
  for (const mail of [{ kind: "hand_over", fd: 12, session }, over]) {
    post.peer.port1.postMessage(new Map([["mail", mail]]));
  }
  assert.deepEqual(post.deliver(), [["takeOver", 12, session], ["thawOver", over]]);
  const count = new Uint8Array(8);
  assert.ok(libc.read(post.peerFd, count, 8) < 0, "nobody has been woken");
  post.mailbox.toPeer(0, over);
  assert.deepEqual(taken(post.peer.port1), new Map([["mail", over]]));
  assert.equal(libc.read(post.peerFd, count, 8), 8);
  assert.deepEqual([...post.mailbox.peers], [0]);
});

Deno.test("mailbox: descriptors are marked from when they are given until they are taken", () => {
  using post = new Post();
  const given = new Int32Array(post.given);
  new Int32Array(post.shared)[ofWorker(0, Own.Life)] = 3;
  post.mailbox.toPeer(0, { kind: "hand_over", fd: 12, session: {} });
  const item = { type: "lost", database: "db", user: "me", fds: [13, 14] } as const;
  post.mailbox.toPeer(0, { kind: "thaw", items: [{ ...item, fds: [...item.fds] }] });
  assert.deepEqual([...given.subarray(11, 16)], [0, 3, 3, 3, 0]);
  post.peer.port1.postMessage(new Map([["mail", { kind: "hand_over", fd: 13, session: {} }]]));
  post.deliver();
  assert.deepEqual([...given.subarray(11, 16)], [0, 3, 0, 3, 0]);
});

// The port that came by mail stays open as long as the mailbox.
const name = "mailbox: a worker that was replaced is reached by its new port";
Deno.test({ name, sanitizeResources: false }, () => {
  using post = new Post();
  const fresh = new MessageChannel();
  const mail = { kind: "peer_replaced", index: 0, port: fresh.port2 } as const;
  post.control.port1.postMessage(new Map([["mail", mail]]), [fresh.port2]);
  assert.deepEqual(post.deliver(), [["peerReplaced", 0]]);
  const over = { kind: "thaw_over", database: "db", user: "me" } as const;
  post.mailbox.toPeer(0, over);
  assert.equal(taken(post.peer.port1), undefined);
  assert.deepEqual(taken(fresh.port1), new Map([["mail", over]]));
  fresh.port1.close();
});
