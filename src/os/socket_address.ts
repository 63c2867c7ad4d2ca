/**
 * `struct sockaddr_in`, `sockaddr_in6` and `sockaddr_un`: made from text for connect(2), read into text after
 * accept4(2) and getsockname(2). Ports and addresses are in network order, the family in the machine's.
 */

import { AF_INET, AF_INET6, AF_UNIX, LITTLE_ENDIAN } from "./layout.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A `sockaddr_un` for a path; the path has at most 107 bytes (unix(7)). */
export function unixAddress(path: string): Uint8Array<ArrayBuffer> | undefined {
  const name = encoder.encode(path);
  if (name.length > 107) return undefined;
  const bytes = new Uint8Array(2 + name.length + 1);
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, LITTLE_ENDIAN);
  bytes.set(name, 2);
  return bytes;
}

/** A `sockaddr_un` in the abstract namespace: a NUL, then the name, and no NUL after it (unix(7)). */
export function abstractAddress(name: string): Uint8Array<ArrayBuffer> | undefined {
  const text = encoder.encode(name);
  if (text.length > 107) return undefined;
  const bytes = new Uint8Array(3 + text.length);
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, LITTLE_ENDIAN);
  bytes.set(text, 3);
  return bytes;
}

/** A `sockaddr_in` or `sockaddr_in6` for a literal IP address; `undefined` when it is none. */
export function inetAddress(ip: string, port: number): Uint8Array<ArrayBuffer> | undefined {
  const four = parseIpv4(ip);
  if (four !== undefined) {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, AF_INET, LITTLE_ENDIAN);
    view.setUint16(2, port);
    bytes.set(four, 4);
    return bytes;
  }
  const six = parseIpv6(ip);
  if (six === undefined) return undefined;
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET6, LITTLE_ENDIAN);
  view.setUint16(2, port);
  bytes.set(six, 8);
  return bytes;
}

/** The family of a `sockaddr_*` made here. */
export function addressFamily(address: Uint8Array<ArrayBuffer>): number {
  return address[0] | (address[1] << 8);
}

function parseIpv4(text: string): Uint8Array | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  const bytes = Uint8Array.from(match.slice(1), Number);
  return match.slice(1).some((part) => Number(part) > 255) ? undefined : bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  if (!text.includes(":")) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const words = (half: string, part: "whole" | "head" | "tail"): number[] | undefined => {
    if (half === "") return [];
    const found: number[] = [];
    const parts = half.split(":");
    for (let i = 0; i < parts.length; i++) {
      // RFC 4291 §2.2: an IPv4 address stands for the low-order 32 bits.
      const four = part !== "head" && i === parts.length - 1 ? parseIpv4(parts[i]) : undefined;
      if (four !== undefined) found.push((four[0] << 8) | four[1], (four[2] << 8) | four[3]);
      else if (/^[0-9a-fA-F]{1,4}$/.test(parts[i])) found.push(parseInt(parts[i], 16));
      else return undefined;
    }
    return found;
  };
  const head = words(halves[0], halves.length === 1 ? "whole" : "head");
  const tail = halves.length === 2 ? words(halves[1], "tail") : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...new Array<number>(missing).fill(0), ...tail];
  const bytes = new Uint8Array(16);
  all.forEach((word, i) => {
    bytes[2 * i] = word >> 8;
    bytes[2 * i + 1] = word & 255;
  });
  return bytes;
}

/** Text of a `sockaddr_*`: `127.0.0.1:6432`, `[::1]:6432`, `unix:/path` (`unix:` for an unnamed socket). */
export function readAddress(bytes: Uint8Array, length: number): string {
  const family = bytes[0] | (bytes[1] << 8);
  if (family === AF_INET) return `${readIp(bytes, length)}:${(bytes[2] << 8) | bytes[3]}`;
  if (family === AF_INET6) return `[${readIp(bytes, length)}]:${(bytes[2] << 8) | bytes[3]}`;
  return readIp(bytes, length);
}

/** The address without its port; IPv4-mapped IPv6 addresses are shown as IPv4. */
export function readIp(bytes: Uint8Array, length: number): string {
  const family = bytes[0] | (bytes[1] << 8);
  if (family === AF_INET) return `${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`;
  if (family === AF_INET6) return readIpv6(bytes);
  let end = 2;
  while (end < length && bytes[end] !== 0) end++;
  return `unix:${decoder.decode(bytes.subarray(2, end))}`;
}

function readIpv6(bytes: Uint8Array): string {
  let mapped = true;
  for (let i = 8; i < 18; i++) if (bytes[i] !== 0) mapped = false;
  if (mapped && bytes[18] === 255 && bytes[19] === 255) {
    return `${bytes[20]}.${bytes[21]}.${bytes[22]}.${bytes[23]}`;
  }
  const words: string[] = [];
  for (let i = 8; i < 24; i += 2) words.push(((bytes[i] << 8) | bytes[i + 1]).toString(16));
  // RFC 5952: the longest run of two or more zero words becomes "::".
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let j = i;
    while (j < 8 && words[j] === "0") j++;
    if (j - i > bestLength) {
      best = i;
      bestLength = j - i;
    }
    if (j > i) i = j - 1;
  }
  if (best < 0) return words.join(":");
  return `${words.slice(0, best).join(":")}::${words.slice(best + bestLength).join(":")}`;
}
