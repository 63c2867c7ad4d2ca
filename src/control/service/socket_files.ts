/** Files of Unix sockets, by inode: a successor's file under the same name is not ours to remove. */

import type { OpenListener } from "./listeners.ts";
import { removeIfThere } from "./pid_file.ts";

export class SocketFiles {
  readonly #inodes = new Map<string, number | undefined>();

  /** The files of these are ours. */
  note(listeners: readonly Pick<OpenListener, "transport" | "name">[]): void {
    for (const { transport, name } of listeners) {
      if (transport === "unix") this.#inodes.set(name, inodeOf(name));
    }
  }

  /** Removes those that are still ours. */
  remove(): void {
    for (const [path, inode] of this.#inodes) if (inodeOf(path) === inode) removeIfThere(path);
    this.#inodes.clear();
  }
}

function inodeOf(path: string): number | undefined {
  try {
    return Deno.lstatSync(path).ino ?? undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
