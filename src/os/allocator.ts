/** The memory allocator of the process. */

const libc = Deno.dlopen("libc.so.6", {
  // int malloc_trim(size_t pad); on a thread of its own, since it takes a while
  malloc_trim: { parameters: ["usize"], result: "i32", nonblocking: true },
}).symbols;

/** Gives back to the system what is free. */
export async function trimMemory(): Promise<void> {
  await libc.malloc_trim(0n);
}
