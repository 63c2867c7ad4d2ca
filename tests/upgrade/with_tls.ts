/**
 * Whether clients of the instances that are upgraded have TLS: a test file that sets it before it loads another one runs
 * that one's tests with TLS (tls_states_test.ts).
 */

export const clients: { tls: boolean } = { tls: false };
