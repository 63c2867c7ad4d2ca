import assert from "node:assert/strict";
import { countSockets, type ProcFiles } from "./sockets.ts";

const TCP_HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid";

/** A line of /proc/net/tcp. */
function tcp(state: string, inode: number): string {
  return `   0: 0100007F:1538 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  1000 ` +
    `       0 ${inode} 1 0000000000000000 100 0 0 10 0`;
}

/** A line of /proc/net/unix. */
function unix(type: string, state: string, inode: number): string {
  return `0000000000000000: 00000002 00000000 00000000 ${type} ${state} ${inode} /run/x`;
}

Deno.test("sockets: each of the process by its state, those of others not", () => {
  const files: Record<string, string> = {
    "/proc/self/net/tcp": [TCP_HEAD, tcp("01", 1), tcp("01", 99), tcp("0A", 2), tcp("0D", 3), ""]
      .join("\n"),
    "/proc/self/net/tcp6": [TCP_HEAD, tcp("08", 4), tcp("FF", 5)].join("\n"),
    "/proc/self/net/unix": [
      "Num RefCount Protocol Flags Type St Inode Path",
      unix("0001", "01", 6),
      unix("0001", "03", 7),
      unix("0002", "01", 8),
      unix("0005", "01", 9),
      unix("0001", "09", 10),
      unix("0009", "01", 11),
    ].join("\n"),
  };
  const links = [..."123456789"].map((inode) => `socket:[${inode}]`);
  const proc: ProcFiles = {
    links: () => ["pipe:[1]", "/dev/null", ...links, "socket:[10]", "socket:[11]", "socket:[12]"],
    read: (path) => files[path] ?? "",
  };
  const counts = countSockets(proc);
  assert.equal(counts.length, 34);
  const found = counts.flatMap((count, at) => count === 0 ? [] : [`${at}:${count}`]);
  // TCP 0 established, 9 listen, 12 bound; TCP6 20 close_wait; Unix 26 free to 32 seqpacket; 33 unknown.
  assert.equal(found.join(" "), "0:1 9:1 12:1 20:1 26:1 27:1 29:1 31:1 32:1 33:3");
});

Deno.test("sockets: of this very process there is one more when one is opened", () => {
  const before = countSockets().reduce((sum, count) => sum + count, 0);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  assert.ok(listener.addr);
  assert.equal(countSockets().reduce((sum, count) => sum + count, 0), before + 1);
  assert.ok(countSockets()[9]! >= 1);
});
