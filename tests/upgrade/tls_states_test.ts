/** Clients with TLS move in whatever state they are: the tests of states_test.ts, over TLS. */

import { clients } from "./with_tls.ts";

clients.tls = true;
await import("./states_test.ts");
