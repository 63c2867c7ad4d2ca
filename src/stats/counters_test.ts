import assert from "node:assert/strict";
import { Counters } from "./counters.ts";

Deno.test("counters: averages of a period, a second or an event, truncated", () => {
  const counters = new Counters();
  const { total } = counters;
  Object.assign(total, {
    xact_count: 31,
    query_count: 62,
    received: 1499,
    sent: 15,
    xact_time: 1000,
    query_time: 125,
    wait_time: 93,
    errors: 14,
    check_queries_run: 30,
    check_queries_answered: 59,
    query_timeouts: 29,
    transaction_timeouts: 30,
    idle_transaction_timeouts: 45,
    client_idle_timeouts: 1,
    server_assignments: 15,
    client_parses: 30,
    server_parses: 45,
    binds: 60,
  });
  counters.closePeriod();
  assert.deepEqual(counters.averages, {
    xact_count: 2,
    query_count: 4,
    received: 99,
    sent: 1,
    xact_time: 32,
    query_time: 2,
    wait_time: 3,
    errors: 0,
    pins: 0,
    check_queries_run: 2,
    check_queries_answered: 3,
    query_timeouts: 1,
    transaction_timeouts: 2,
    idle_transaction_timeouts: 3,
    client_idle_timeouts: 0,
    server_assignments: 1,
    client_parses: 2,
    server_parses: 3,
    server_tls_handshake_errors: 0,
    server_tls_handshake_time: 0,
    server_tls_handshakes: 0,
    binds: 4,
  });
  // Sums stay, and the next period counts from here.
  assert.equal(total.xact_count, 31);
  total.xact_count += 15;
  total.xact_time += 30;
  counters.closePeriod();
  assert.equal(counters.averages.xact_count, 1);
  assert.equal(counters.averages.xact_time, 2);
  assert.equal(counters.averages.received, 0);
});

Deno.test("counters: a period without events has averages of zero", () => {
  const counters = new Counters();
  counters.total.wait_time = 500;
  counters.closePeriod();
  assert.deepEqual(new Set(Object.values(counters.averages)), new Set([0]));
});
