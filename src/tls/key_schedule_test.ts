import assert from "node:assert/strict";
import { readBuffer } from "../reactor/stream.ts";
import { received, sealed } from "./buffers.ts";
import { derived, deriveIv, deriveKey, keyBlock, nextSecret, prf } from "./key_schedule.ts";
import { RecordLayer } from "./record_layer.ts";
import { newTlsState } from "./state.ts";
import { type Suite, suiteOf } from "./suites.ts";
import "./testing/ends.ts";
import { ReferencePeer } from "./testing/reference_peer.ts";

const hex = (text: string) => Uint8Array.fromHex(text.replaceAll(/\s/g, ""));
const AES_128 = suiteOf(0x1301)!;

/** RFC 8448 §3, "Simple 1-RTT Handshake". */
const CLIENT_SECRET = hex(`9e 40 64 6c e7 9a 7f 9d c0 5a f8 88 9b ce 65 52
  87 5a fa 0b 06 df 00 87 f7 92 eb b7 c1 75 04 a5`);
const SERVER_SECRET = hex(`a1 1a f9 f0 55 31 f8 56 ad 47 11 6b 45 a9 50 32
  82 04 b4 f4 4b fb 6b 3a 4b 4f 1f 3f cb 63 16 43`);
const PAYLOAD = Uint8Array.from({ length: 50 }, (_, i) => i);
const CLIENT_DATA = hex(`17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe
  82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b 39 5b d5 4a 9a 20
  44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4`);
const SERVER_DATA = hex(`17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad
  36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d 90 e6 df fc 60 2d cb 50
  1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d`);
const CLIENT_ALERT = hex(`17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3`);
const SERVER_ALERT = hex(`17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9`);

function trafficKeys(suite: Suite, secret: Uint8Array): { key: Uint8Array; iv: Uint8Array } {
  deriveKey(suite, secret);
  const key = derived.slice(0, suite.keyBytes);
  deriveIv(suite, secret);
  return { key, iv: derived.slice(0, 12) };
}

function layer(role: "server" | "client"): RecordLayer {
  const client = { secret: CLIENT_SECRET.slice(), sequence: 0 };
  // The server has sent a ticket, record 0, before.
  const server = { secret: SERVER_SECRET.slice(), sequence: 1 };
  return new RecordLayer(newTlsState({
    version: 0x0304,
    suite: AES_128.id,
    role,
    receive: role === "server" ? client : server,
    send: role === "server" ? server : client,
    mostPlaintext: 16_384,
  }));
}

function open(records: RecordLayer, record: Uint8Array): Uint8Array {
  received.set(record);
  const count = records.open(record.length, 0);
  return readBuffer.slice(0, count);
}

Deno.test("key schedule: the keys of RFC 8448", () => {
  assert.deepEqual(trafficKeys(AES_128, CLIENT_SECRET), {
    key: hex("17 42 2d da 59 6e d5 d9 ac d8 90 e3 c6 3f 50 51"),
    iv: hex("5b 78 92 3d ee 08 57 90 33 e5 23 d9"),
  });
  assert.deepEqual(trafficKeys(AES_128, SERVER_SECRET), {
    key: hex("9f 02 28 3b 6c 9c 07 ef c2 6b b9 f2 ac 92 e3 56"),
    iv: hex("cf 78 2b 88 dd 83 54 9a ad f1 e9 84"),
  });
});

Deno.test("record layer: seals the records of RFC 8448", () => {
  const client = layer("client");
  assert.deepEqual(sealed.slice(0, client.sealData(PAYLOAD, 0, 50)), CLIENT_DATA);
  assert.deepEqual(sealed.slice(0, client.sealAlert(0)), CLIENT_ALERT);
  const server = layer("server");
  assert.deepEqual(sealed.slice(0, server.sealData(PAYLOAD, 0, 50)), SERVER_DATA);
  assert.deepEqual(sealed.slice(0, server.sealAlert(0)), SERVER_ALERT);
  client.free();
  server.free();
});

Deno.test("record layer: opens the records of RFC 8448", () => {
  const server = layer("server");
  assert.deepEqual(open(server, CLIENT_DATA), PAYLOAD);
  assert.equal(open(server, CLIENT_ALERT).length, 0);
  assert.ok(server.state.peerEnded);
  const client = layer("client");
  assert.deepEqual(open(client, SERVER_DATA), PAYLOAD);
  assert.equal(open(client, SERVER_ALERT).length, 0);
  assert.ok(client.state.peerEnded);
  client.free();
  server.free();
});

Deno.test("key schedule: the secret after the next KeyUpdate, as the reference has it", () => {
  for (const id of [0x1301, 0x1302, 0x1303]) {
    const suite = suiteOf(id)!;
    const secret = new Uint8Array(suite.hash === "sha384" ? 48 : 32).fill(9);
    const peer = new ReferencePeer(suite, secret, secret);
    peer.send.update();
    assert.deepEqual(nextSecret(suite, secret), peer.send.secret);
    assert.deepEqual(trafficKeys(suite, peer.send.secret), {
      key: peer.send.key,
      iv: peer.send.iv,
    });
  }
});

Deno.test("key schedule: the pseudorandom function of TLS 1.2", () => {
  // Vectors of the TLS working group's list, 2009-02.
  assert.deepEqual(
    prf(
      "sha256",
      hex("9b be 43 6b a9 40 f0 17 b1 76 52 84 9a 71 db 35"),
      "test label",
      hex("a0 ba 9f 93 6c da 31 18 27 a6 f7 96 ff d5 19 8c"),
      100,
    ),
    hex(`e3 f2 29 ba 72 7b e1 7b 8d 12 26 20 55 7c d4 53 c2 aa b2 1d 07 c3 d4 95 32 9b 52 d4 e6 1e
      db 5a 6b 30 17 91 e9 0d 35 c9 c9 a4 6b 4e 14 ba f9 af 0f a0 22 f7 07 7d ef 17 ab fd 37 97 c0
      56 4b ab 4f bc 91 66 6e 9d ef 9b 97 fc e3 4f 79 67 89 ba a4 80 82 d1 22 ee 42 c5 a7 2e 5a 51
      10 ff f7 01 87 34 7b 66`),
  );
  assert.deepEqual(
    prf(
      "sha384",
      hex("b8 0b 73 3d 6c ee fc dc 71 56 6e a4 8e 55 67 df"),
      "test label",
      hex("cd 66 5c f6 a8 44 7d d6 ff 8b 27 55 5e db 74 65"),
      148,
    ).slice(0, 48),
    hex(`7b 0c 18 e9 ce d4 10 ed 18 04 f2 cf a3 4a 33 6a 1c 14 df fb 49 00 bb 5f d7 94 21 07 e8 1c
      83 cd e9 ca 0f aa 60 be 9f e3 4f 82 b1 23 3c 91 46 a0`),
  );
});

Deno.test("key schedule: the key block of TLS 1.2 is cut in the order of RFC 5246", () => {
  const suite = suiteOf(0xc02f)!;
  const master = new Uint8Array(48).fill(3);
  const client = new Uint8Array(32).fill(1);
  const server = new Uint8Array(32).fill(2);
  // The server's random comes first in the seed.
  const block = prf("sha256", master, "key expansion", Uint8Array.of(...server, ...client), 40);
  const cut = keyBlock(suite, master, client, server);
  assert.deepEqual(
    Uint8Array.of(...cut.client.key, ...cut.server.key, ...cut.client.iv, ...cut.server.iv),
    block,
  );
  assert.deepEqual([cut.client.key.length, cut.client.iv.length], [16, 4]);
});
