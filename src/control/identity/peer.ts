/** The method `peer`: the kernel has told a worker the number of the user on the other end of a unix socket. */

import type { ExternalCheck } from "../../auth/external.ts";
import { userName } from "../../os/users.ts";

export const peerCheck: ExternalCheck = {
  // A directory behind the C library may be slow, and each takes one of the runtime's threads.
  atOnce: 4,
  timeoutMs: 10_000,
  async check({ options }) {
    const identity = await userName(Number(options.uid));
    return identity === undefined
      ? { kind: "refused", why: `user ${options.uid} of this machine has no name` }
      : { kind: "accepted", identity };
  },
};
