import assert from "node:assert/strict";
import fc from "fast-check";
import { addressFamily, inetAddress, readAddress, readIp, unixAddress } from "./socket_address.ts";

function shown(ip: string, port = 5432): string | undefined {
  const bytes = inetAddress(ip, port);
  return bytes && readAddress(bytes, bytes.length);
}

Deno.test("socket address: layout of IPv4, IPv6 and unix addresses", () => {
  assert.deepEqual(
    inetAddress("127.0.0.1", 0x1538),
    Uint8Array.of(2, 0, 0x15, 0x38, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
  );
  const six = inetAddress("2001:db8::1", 0x1538)!;
  assert.equal(six.length, 28);
  assert.deepEqual(
    six.subarray(0, 24),
    Uint8Array.of(
      10,
      0,
      0x15,
      0x38,
      0,
      0,
      0,
      0,
      0x20,
      1,
      0xd,
      0xb8,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      1,
    ),
  );
  assert.deepEqual(unixAddress("/a"), Uint8Array.of(1, 0, 0x2f, 0x61, 0));
  assert.deepEqual(
    [inetAddress("1.2.3.4", 1), six, unixAddress("/a")].map((a) => addressFamily(a!)),
    [
      2,
      10,
      1,
    ],
  );
});

Deno.test("socket address: IPv6 in the shortest form of RFC 5952", () => {
  const cases: Record<string, string> = {
    "::": "::",
    "::1": "::1",
    "1::": "1::",
    "2001:0DB8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "1:0:2:0:3:0:4:0": "1:0:2:0:3:0:4:0",
    "0:0:1:0:0:0:0:1": "0:0:1::1",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
    "64:ff9b::192.0.2.33": "64:ff9b::c000:221",
  };
  for (const [text, wanted] of Object.entries(cases)) {
    const bytes = inetAddress(text, 1)!;
    assert.equal(readIp(bytes, bytes.length), wanted, text);
  }
});

Deno.test("socket address: IPv4 in IPv6 is shown as IPv4", () => {
  const bytes = inetAddress("::ffff:10.1.2.3", 6432)!;
  assert.equal(readIp(bytes, bytes.length), "10.1.2.3");
});

Deno.test("socket address: no address is no address", () => {
  const wrong = [
    "",
    "localhost",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "1.2.3.-4",
    " 1.2.3.4",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4::5:6:7:8",
    "12345::",
    "g::1",
    "::1%eth0",
    "1.2.3.4::",
    "::1.2.3.256",
  ];
  for (const text of wrong) assert.equal(inetAddress(text, 1), undefined, text);
});

Deno.test("socket address: every address is shown so that it reads as itself", () => {
  const port = fc.nat({ max: 65535 });
  fc.assert(fc.property(fc.ipV4(), port, (ip, p) => assert.equal(shown(ip, p), `${ip}:${p}`)));
  fc.assert(
    fc.property(fc.ipV6(), port, (ip, p) => {
      const bytes = inetAddress(ip, p);
      assert.ok(bytes, ip);
      const text = readIp(bytes, bytes.length);
      const again = inetAddress(text, p)!;
      if (text.includes(":")) assert.deepEqual(again, bytes);
      else assert.match(ip.toLowerCase(), /ffff/);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("socket address: unix paths have at most 107 bytes, unnamed sockets none", () => {
  const longest = "/" + "a".repeat(106);
  const bytes = unixAddress(longest)!;
  assert.equal(readAddress(bytes, bytes.length), `unix:${longest}`);
  assert.equal(unixAddress(longest + "a"), undefined);
  assert.equal(unixAddress("/" + "é".repeat(54)), undefined);
  assert.equal(readAddress(Uint8Array.of(1, 0), 2), "unix:");
});
