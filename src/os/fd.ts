/** A file descriptor of this process: a branded number. */
export type Fd = number & { readonly __fd: unique symbol };
