import assert from "node:assert/strict";
import type { Config } from "../../config/types.ts";
import { contentChanges, digestFiles } from "./file_digests.ts";

const CONFIG = {
  general: {
    tls_certificate: "/c.pem",
    server_tls_ca_cert: "/ca.pem",
    unix_socket_dir: "/run",
    daemon_pid_file: "/pid",
  },
  web: {},
  pools: new Map([["app", { server_tls_ca_cert: "/ca.pem" }]]),
} as unknown as Config;

function reader(files: Record<string, string>): (file: string) => Uint8Array {
  return (file) => {
    const text = files[file];
    if (text === undefined) throw new Deno.errors.NotFound(file);
    return new TextEncoder().encode(text);
  };
}

Deno.test("file digests: another content under the same name is a change of every key that names it", () => {
  const before = digestFiles(CONFIG, reader({ "/c.pem": "1", "/ca.pem": "1" }));
  const after = digestFiles(CONFIG, reader({ "/c.pem": "1", "/ca.pem": "2" }));
  assert.deepEqual(contentChanges(before, before), []);
  assert.deepEqual(contentChanges(before, after), [
    { path: "general.server_tls_ca_cert (content of the file)", kind: "changed", reload: "B" },
    { path: "pools.app.server_tls_ca_cert (content of the file)", kind: "changed", reload: "B" },
  ]);
});

Deno.test("file digests: another name is the config's change, not the content's", () => {
  const files = reader({ "/c.pem": "1", "/ca.pem": "1", "/d.pem": "2" });
  const general = { ...CONFIG.general, tls_certificate: "/d.pem" };
  assert.deepEqual(
    contentChanges(digestFiles(CONFIG, files), digestFiles({ ...CONFIG, general }, files)),
    [],
  );
});

Deno.test("file digests: each file is read once, sockets and PID files never", () => {
  const read: string[] = [];
  digestFiles(CONFIG, (file) => {
    read.push(file);
    return new Uint8Array();
  });
  assert.deepEqual(read.sort(), ["/c.pem", "/ca.pem"]);
});

Deno.test("file digests: a file that went or came is a change", () => {
  const there = digestFiles(CONFIG, reader({ "/c.pem": "1", "/ca.pem": "1" }));
  const gone = digestFiles(CONFIG, reader({ "/ca.pem": "1" }));
  assert.equal(
    contentChanges(there, gone)[0]?.path,
    "general.tls_certificate (content of the file)",
  );
});
