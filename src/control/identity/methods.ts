/**
 * Who checks passwords besides the pooler, by method. What is not in here is not available: the configuration that names it
 * is refused.
 */

import type { ExternalMethods } from "../../auth/external.ts";
import { peerCheck } from "./peer.ts";

export const externalMethods: ExternalMethods = new Map([["peer", peerCheck]]);
