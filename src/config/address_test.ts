import assert from "node:assert/strict";
import fc from "fast-check";
import { cidrContains, hostCidr, maskedCidr, parseAddress, parseCidr } from "./address.ts";

const v6 = (text: string) => parseAddress(text)?.bytes.map((byte) => byte.toString(16)).join(" ");

function contains(network: string, address: string): boolean {
  const [cidr, ip] = [parseCidr(network), parseAddress(address)];
  assert.ok(cidr !== undefined, network);
  assert.ok(ip !== undefined, address);
  return cidrContains(cidr, ip);
}

Deno.test("address: parses IPv4", () => {
  assert.deepEqual(parseAddress("10.0.200.255"), { family: 4, bytes: [10, 0, 200, 255] });
});

Deno.test("address: parses IPv6 in all its spellings", () => {
  assert.equal(v6("::"), "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
  assert.equal(v6("::1"), "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1");
  assert.equal(v6("fe80::"), "fe 80 0 0 0 0 0 0 0 0 0 0 0 0 0 0");
  assert.equal(v6("2001:DB8::a:0bc"), "20 1 d b8 0 0 0 0 0 0 0 0 0 a 0 bc");
  assert.equal(v6("1:2:3:4:5:6:7:8"), "0 1 0 2 0 3 0 4 0 5 0 6 0 7 0 8");
  assert.equal(v6("1:2:3:4:5:6:7::"), "0 1 0 2 0 3 0 4 0 5 0 6 0 7 0 0");
  assert.equal(v6("64:ff9b::192.0.2.33"), "0 64 ff 9b 0 0 0 0 0 0 0 0 c0 0 2 21");
  assert.equal(v6("1:2:3:4:5:6:1.2.3.4"), "0 1 0 2 0 3 0 4 0 5 0 6 1 2 3 4");
});

Deno.test("address: refuses what is no address, or one to some readers only", () => {
  const bad = [
    ...["", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ", "0x1.2.3.4"],
    ...["1.2.3.-4", "1.2.3.", "1..2.3", "1.2.3.4/32", "localhost", "1.2.3.١"],
    ...[":", ":::", "1::2::3", "::1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7"],
    ...[
      "1:2:3:4:5:6:7:",
      "1:2:3:4:5:6:7:8::",
      "::12345",
      "::g",
      "[::1]",
      "fe80::1%eth0",
      "::1/128",
    ],
    ...["1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3", "::1.2.3.256"],
    "0".repeat(100000),
    ":".repeat(100000),
  ];
  for (const text of bad) assert.equal(parseAddress(text), undefined, text.slice(0, 40));
});

Deno.test("address: an IPv4 address in IPv6 clothes is an IPv4 address", () => {
  const plain = parseAddress("10.1.2.3");
  assert.deepEqual(parseAddress("::ffff:10.1.2.3"), plain);
  assert.deepEqual(parseAddress("::FFFF:0a01:203"), plain);
  assert.deepEqual(parseAddress("0:0:0:0:0:ffff:10.1.2.3"), plain);
  assert.equal(parseAddress("::fffe:10.1.2.3")?.family, 6);
  assert.equal(parseAddress("1::ffff:10.1.2.3")?.family, 6);
  assert.equal(parseAddress("::10.1.2.3")?.family, 6);
});

Deno.test("address: parses networks, host bits allowed", () => {
  assert.deepEqual(parseCidr("10.1.2.3/8"), {
    address: { family: 4, bytes: [10, 1, 2, 3] },
    prefix: 8,
  });
  assert.equal(parseCidr("::/0")?.prefix, 0);
  assert.equal(parseCidr("::1/128")?.prefix, 128);
  assert.deepEqual(parseCidr("::ffff:10.0.0.0/104"), parseCidr("10.0.0.0/8"));
  assert.equal(parseCidr("::ffff:10.0.0.0/95")?.address.family, 6);
});

Deno.test("address: refuses what is no network", () => {
  const bad = [
    ...["", "/", "10.0.0.0", "10.0.0.0/", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1"],
    ...["10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/ 8", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0/8"],
    ...["10.0.0.0/255.0.0.0", "10.0.0.0/1e1", "host/32", "10.0.0.0/99999999999"],
  ];
  for (const text of bad) assert.equal(parseCidr(text), undefined, text);
});

Deno.test("address: a network holds the addresses that share its first bits", () => {
  assert.ok(contains("10.0.0.0/8", "10.255.0.1"));
  assert.ok(!contains("10.0.0.0/8", "11.0.0.0"));
  assert.ok(contains("10.9.9.9/8", "10.0.0.1"));
  assert.ok(contains("172.16.0.0/12", "172.31.255.255"));
  assert.ok(!contains("172.16.0.0/12", "172.32.0.0"));
  assert.ok(contains("1.2.3.4/32", "1.2.3.4"));
  assert.ok(!contains("1.2.3.4/32", "1.2.3.5"));
  assert.ok(contains("1.2.3.4/31", "1.2.3.5"));
  assert.ok(contains("0.0.0.0/0", "255.255.255.255"));
  assert.ok(!contains("128.0.0.0/1", "127.255.255.255"));
  assert.ok(contains("2001:db8::/33", "2001:db8:7fff::1"));
  assert.ok(!contains("2001:db8::/33", "2001:db8:8000::1"));
  assert.ok(contains("::1/128", "::1"));
});

Deno.test("address: families do not mix, and mapped addresses are IPv4", () => {
  assert.ok(!contains("0.0.0.0/0", "::1"));
  assert.ok(!contains("::/0", "1.2.3.4"));
  assert.ok(contains("0.0.0.0/0", "::ffff:1.2.3.4"));
  assert.ok(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  assert.ok(!contains("::/0", "::ffff:10.1.2.3"));
  assert.ok(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
});

Deno.test("address: an address and a mask make a network", () => {
  const made = (address: string, mask: string) =>
    maskedCidr(parseAddress(address)!, parseAddress(mask)!)?.prefix;
  assert.equal(made("10.0.0.0", "255.0.0.0"), 8);
  assert.equal(made("10.0.0.0", "0.0.0.0"), 0);
  assert.equal(made("10.0.0.0", "255.255.255.255"), 32);
  assert.equal(made("10.0.0.0", "255.255.240.0"), 20);
  assert.equal(made("fe80::1", "ffff:ffff:ffff:ffff::"), 64);
  assert.equal(made("10.0.0.0", "255.0.255.0"), undefined);
  assert.equal(made("10.0.0.0", "0.0.0.255"), undefined);
  assert.equal(made("10.0.0.0", "ffff::"), undefined);
  assert.equal(made("::1", "255.0.0.0"), undefined);
});

Deno.test("address: the network of one address holds it alone", () => {
  const octets = fc.tuple(...new Array(4).fill(fc.nat(255)));
  fc.assert(fc.property(octets, octets, (a, b) => {
    const [one, other] = [parseAddress(a.join("."))!, parseAddress(b.join("."))!];
    assert.ok(cidrContains(hostCidr(one), one));
    assert.equal(cidrContains(hostCidr(one), other), a.join() === b.join());
  }));
});

Deno.test("address: prefixes agree with arithmetic on 32-bit numbers", () => {
  const value = fc.integer({ min: 0, max: 0xffffffff });
  const text = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
  fc.assert(fc.property(value, value, fc.nat(32), fc.nat(32), (a, noise, prefix, keep) => {
    // Shares its first `keep` bits with `a`.
    const b = keep === 0 ? noise : keep === 32 ? a : (a >>> (32 - keep) << (32 - keep)) |
      (noise & (2 ** (32 - keep) - 1));
    const same = prefix === 0 || (a >>> (32 - prefix)) === (b >>> (32 - prefix));
    assert.equal(contains(`${text(a)}/${prefix}`, text(b)), same);
  }));
});

Deno.test("address: no text makes the parsers throw", () => {
  const text = fc.string({
    unit: fc.constantFrom(..."0123456789abcf:./%".split("")),
    maxLength: 50,
  });
  fc.assert(fc.property(fc.oneof(text, fc.string()), (input) => {
    const address = parseAddress(input);
    if (address !== undefined) assert.equal(address.bytes.length, address.family === 4 ? 4 : 16);
    const cidr = parseCidr(input);
    if (cidr !== undefined) assert.ok(cidr.prefix <= 8 * cidr.address.bytes.length);
  }));
});
