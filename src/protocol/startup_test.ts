import assert from "node:assert/strict";
import fc from "fast-check";
import {
  asSent,
  cancelRequest,
  MAX_STARTUP_BYTES,
  readReplication,
  readStartup,
  startupLength,
  startupMessage,
  startupSettings,
} from "./startup.ts";
import { concat, firstPacket, hex, int32, startup } from "./testing/wire.ts";

function read(bytes: Uint8Array): ReturnType<typeof readStartup> {
  return readStartup(bytes, 0, bytes.length);
}

Deno.test("startup: the length needs four bytes and has PostgreSQL's limits", () => {
  const packet = startup({ user: "me" });
  for (let n = 0; n < 4; n++) assert.equal(startupLength(packet, 0, n), 0);
  assert.equal(startupLength(packet, 0, 4), packet.length);
  const length = (n: number) => startupLength(Uint8Array.from(int32(n)), 0, 4);
  for (const wrong of [0, 1, 7, MAX_STARTUP_BYTES + 1, 0x7fffffff, -1, -0x80000000]) {
    assert.equal(length(wrong), -1, String(wrong));
  }
  for (const right of [8, MAX_STARTUP_BYTES]) assert.equal(length(right), right);
});

Deno.test("startup: packets without parameters", () => {
  assert.deepEqual(read(hex("00000008 04d2162f")), { kind: "ssl_request" });
  assert.deepEqual(read(hex("00000008 04d21630")), { kind: "gssenc_request" });
  assert.deepEqual(read(hex("00000010 04d2162e 80000001 01020304")), {
    kind: "cancel",
    processId: 0x80000001,
    secret: Uint8Array.of(1, 2, 3, 4),
  });
  assert.deepEqual(read(hex("00000008 00020000")), {
    kind: "unsupported_version",
    major: 2,
    minor: 0,
  });
});

Deno.test("startup: keys of a cancel request have 4 to 256 bytes", () => {
  for (const [bytes, kind] of [[0, "malformed"], [3, "malformed"], [256, "cancel"]] as const) {
    const packet = firstPacket(80877102, [0, 0, 0, 1], new Array<number>(bytes).fill(9));
    assert.equal(read(packet).kind, kind, String(bytes));
  }
  assert.equal(read(firstPacket(80877102, new Array<number>(4 + 257).fill(9))).kind, "malformed");
});

Deno.test("startup: parameters, protocol options apart, and the minor version", () => {
  const packet = firstPacket(196610, "user", "jörg", "_pq_.x", "1", "options", "", [0]);
  assert.deepEqual(read(packet), {
    kind: "startup",
    minor: 2,
    parameters: new Map([["user", "jörg"], ["options", ""]]),
    options: ["_pq_.x"],
  });
  assert.deepEqual(read(startup({})), {
    kind: "startup",
    minor: 0,
    parameters: new Map(),
    options: [],
  });
});

Deno.test("startup: malformed parameter lists", () => {
  const bodies = {
    "no terminator": "75736572 00 6d65 00 61",
    "value without an end": "75736572 00 6d65",
    "name without a value": "75736572 00",
    "empty name": "00 6d65 00 00",
    "terminator before the end": "75736572 00 6d65 00 00 00",
    "nothing": "",
  };
  for (const [name, body] of Object.entries(bodies)) {
    assert.equal(read(firstPacket(196608, [...hex(body)])).kind, "malformed", name);
  }
});

Deno.test("startup: bytes behind the packet are not looked at", () => {
  const text = fc.stringMatching(/^[a-z]{0,6}$/);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), text, fc.uint8Array(), (body, lead, behind) => {
      const packet = firstPacket(196608, lead, [...body]);
      const clean = read(packet);
      const dirty = concat(Uint8Array.of(7, 7), packet, behind);
      assert.deepEqual(readStartup(dirty, 2, 2 + packet.length), clean);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("startup: any first packet is read or refused, never thrown at", () => {
  const code = fc.constantFrom(196608, 196610, 80877102, 80877103, 80877104, 131072, 0, -1);
  fc.assert(
    fc.property(code, fc.uint8Array({ maxLength: 300 }), (version, body) => {
      read(firstPacket(version, [...body]));
    }),
    { numRuns: 2000 },
  );
});

Deno.test("startup: what is written is what a server reads", () => {
  const name = fc.stringMatching(/^[a-z_]{1,12}$/);
  const value = fc.string({ unit: "grapheme" }).filter((text) => !text.includes("\0"));
  fc.assert(
    fc.property(fc.uniqueArray(fc.tuple(name, value), { selector: ([n]) => n }), (pairs) => {
      const bytes = startupMessage(pairs);
      assert.deepEqual(bytes, startup(Object.fromEntries(pairs)));
      const packet = read(bytes);
      assert.ok(packet.kind === "startup");
      assert.deepEqual([...packet.parameters], pairs);
    }),
  );
  assert.deepEqual(startupMessage([["user", "me"]], 2), firstPacket(196610, "user", "me", [0]));
  assert.deepEqual(
    cancelRequest(0x01020304, Uint8Array.of(5, 6, 7, 8)),
    hex("00000010 04d2162e 01020304 05060708"),
  );
});

Deno.test("startup: replication is a boolean as PostgreSQL spells it, or a database", () => {
  const spellings = {
    logical: ["database"],
    physical: ["true", "TRUE", "t", "tr", "yes", "Y", "on", "1"],
    none: ["false", "f", "no", "N", "off", "of", "0"],
    wrong: ["", "o", "truer", "Database", "data", "2", "01", "physical", "on "],
  };
  for (const [wanted, values] of Object.entries(spellings)) {
    for (const value of values) {
      assert.equal(readReplication(value) ?? "wrong", wanted, JSON.stringify(value));
    }
  }
});

Deno.test("startup: the parameters among its fields, with what options holds or word for word", () => {
  const fields = new Map([
    ["user", "me"],
    ["application_name", "a"],
    ["replication", "true"],
    ["options", "-c work_mem=1MB --search-path=x"],
    ["database", "db"],
    ["DateStyle", "ISO"],
  ]);
  // What stands in options comes first: a field of the same name has the last word.
  assert.deepEqual(startupSettings(asSent(fields)), {
    settings: [
      ["work_mem", "1MB"],
      ["search_path", "x"],
      ["application_name", "a"],
      ["DateStyle", "ISO"],
    ],
  });
  assert.deepEqual(startupSettings([["options", "x"], ["a", "b"]]), {
    fault: { code: "42601", why: "invalid command-line argument for server process: x" },
  });
  assert.deepEqual(asSent(fields), [
    ["application_name", "a"],
    ["options", "-c work_mem=1MB --search-path=x"],
    ["DateStyle", "ISO"],
  ]);
});
