/**
 * IP addresses and networks as plain data: parsed strictly (no octal, no short forms, no zones), compared by bits. An
 * IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`, as a dual-stack socket reports its IPv4 peers) is an IPv4 address
 * from the parser on, so that it meets the rules written for it.
 */

/** An address: 4 bytes for IPv4, 16 for IPv6. */
export interface IpAddress {
  family: 4 | 6;
  bytes: readonly number[];
}

/** The addresses that share the first `prefix` bits of `address`; its other bits do not count. */
export interface Cidr {
  address: IpAddress;
  prefix: number;
}

const MAPPED_PREFIX = 96;
/** The longest text of an IPv6 address, with an IPv4 tail. */
const MAX_ADDRESS_CHARACTERS = 45;

/** Parses an IPv4 or IPv6 address. */
export function parseAddress(text: string): IpAddress | undefined {
  const address = parseLiteral(text);
  return address !== undefined && isMapped(address) ? unmap(address) : address;
}

/** Parses `address/prefix`; bits of the address behind the prefix may be set. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const address = parseLiteral(text.slice(0, slash));
  const digits = text.slice(slash + 1);
  if (address === undefined || !/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return undefined;
  const prefix = Number(digits);
  if (prefix > 8 * address.bytes.length) return undefined;
  return isMapped(address) && prefix >= MAPPED_PREFIX
    ? { address: unmap(address), prefix: prefix - MAPPED_PREFIX }
    : { address, prefix };
}

/** The network of one address. */
export function hostCidr(address: IpAddress): Cidr {
  return { address, prefix: 8 * address.bytes.length };
}

/** The network of an address and a mask; `undefined` if the families differ or the mask has holes. */
export function maskedCidr(address: IpAddress, mask: IpAddress): Cidr | undefined {
  if (address.family !== mask.family) return undefined;
  const bits = mask.bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const prefix = bits.indexOf("0") < 0 ? bits.length : bits.indexOf("0");
  return bits.includes("1", prefix) ? undefined : { address, prefix };
}

/** Whether an address lies in a network. Families never mix. */
export function cidrContains(network: Cidr, address: IpAddress): boolean {
  if (network.address.family !== address.family) return false;
  const whole = network.prefix >> 3;
  for (let i = 0; i < whole; i++) {
    if (network.address.bytes[i] !== address.bytes[i]) return false;
  }
  const rest = network.prefix & 7;
  if (rest === 0) return true;
  return ((network.address.bytes[whole] ^ address.bytes[whole]) >> (8 - rest)) === 0;
}

function parseLiteral(text: string): IpAddress | undefined {
  if (text.length > MAX_ADDRESS_CHARACTERS) return undefined;
  if (text.includes(":")) return parseV6(text);
  const bytes = parseV4(text);
  return bytes === undefined ? undefined : { family: 4, bytes };
}

function parseV4(text: string): number[] | undefined {
  const parts = text.split(".");
  // A leading zero means octal to some readers and decimal to others: refused.
  if (parts.length !== 4 || !parts.every((part) => /^(?:0|[1-9][0-9]{0,2})$/.test(part))) {
    return undefined;
  }
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : undefined;
}

function parseV6(text: string): IpAddress | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0], halves.length === 1 ? "whole" : "head");
  const tail = halves.length === 2 ? parseGroups(halves[1], "tail") : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  // "::" stands for at least one group.
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  return { family: 6, bytes: [...head, ...new Array<number>(missing).fill(0), ...tail] };
}

/** @param part of an address: only at its end may an IPv4 address stand */
function parseGroups(text: string, part: "whole" | "head" | "tail"): number[] | undefined {
  if (text === "") return [];
  const groups = text.split(":");
  const bytes: number[] = [];
  for (const [i, group] of groups.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(group)) {
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
      continue;
    }
    const v4 = part !== "head" && i === groups.length - 1 ? parseV4(group) : undefined;
    if (v4 === undefined) return undefined;
    bytes.push(...v4);
  }
  return bytes;
}

function isMapped(address: IpAddress): boolean {
  return address.family === 6 && address.bytes[10] === 0xff && address.bytes[11] === 0xff &&
    address.bytes.every((byte, i) => i >= 10 || byte === 0);
}

function unmap(address: IpAddress): IpAddress {
  return { family: 4, bytes: address.bytes.slice(12) };
}

/** Bytes of an IPv6 address that are a network's: the others are chosen freely. */
const NETWORK_BYTES = 8;

/**
 * Whom an address belongs to: one of IPv6 to its network, since whoever has one address of it has them all. Of a socket
 * in the file system there is none.
 */
export function networkOf(address: string): string {
  const parsed = parseAddress(address);
  if (parsed?.family !== 6) return address;
  return parsed.bytes.slice(0, NETWORK_BYTES).join(".");
}
