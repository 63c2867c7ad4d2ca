/**
 * Logins to PostgreSQL as pools make them, with their TLS: by a worker that accepts nobody and keeps no connection.
 */

import type { OnlineFinding } from "../../cli/test_config.ts";
import type { Settings } from "../../config/settings.ts";
import { levelFilter } from "../../log/filter.ts";
import { asks, WorkerRequests } from "../worker_requests.ts";
import { Supervisor } from "../supervisor.ts";

/** Tries each server, role and database once. */
export async function tryServers({ settings }: { settings: Settings }): Promise<OnlineFinding[]> {
  const broken = Promise.withResolvers<OnlineFinding[]>();
  const died = (why: string) =>
    broken.resolve([{ what: "servers", error: `the worker has ended: ${why}`, note: "" }]);
  const supervisor: Supervisor = new Supervisor({
    mail: (mail, worker) => {
      if (asks(mail)) requests.take(worker, mail);
    },
    died: (_, why) => died(why),
    restless: () => {},
  });
  const requests = new WorkerRequests((worker, mail) => supervisor.send(worker, mail));
  await supervisor.start({
    workers: 1,
    listeners: [],
    listening: [],
    settings,
    logFilter: levelFilter("error"),
    // It waits for servers of another process, and so makes none by itself.
    successor: true,
    mockSecret: crypto.getRandomValues(new Uint8Array(32)),
    clientTls: undefined,
  });
  const tried = supervisor.tryLogins().then((rows) =>
    rows.map(({ database, user, where, error, note }) => ({
      what: `server ${where} (pool "${database}", user "${user}")`,
      error,
      note,
    }))
  );
  return await Promise.race([tried, broken.promise]);
}
