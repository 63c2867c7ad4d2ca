/**
 * libpam by FFI. A call blocks for as long as the service's modules like, and a module may take the process with it when
 * it fails: only a process that is there for nothing else calls these (control/identity/pam_helper.ts).
 *
 * What must hold: what a conversation answers with belongs to the module, which frees it: it is made by libc's allocator.
 */

const SYMBOLS = {
  // int pam_start(const char *service, const char *user, const struct pam_conv *conv, pam_handle_t **handle)
  pam_start: { parameters: ["buffer", "buffer", "buffer", "buffer"], result: "i32" },
  // int pam_start_confdir(const char *service, const char *user, const struct pam_conv *, const char *dir, pam_handle_t **)
  pam_start_confdir: {
    parameters: ["buffer", "buffer", "buffer", "buffer", "buffer"],
    result: "i32",
    // Linux-PAM 1.4 and later.
    optional: true,
  },
  // int pam_set_item(pam_handle_t *handle, int type, const void *item)
  pam_set_item: { parameters: ["pointer", "i32", "buffer"], result: "i32" },
  // int pam_authenticate(pam_handle_t *handle, int flags)
  pam_authenticate: { parameters: ["pointer", "i32"], result: "i32" },
  // int pam_acct_mgmt(pam_handle_t *handle, int flags)
  pam_acct_mgmt: { parameters: ["pointer", "i32"], result: "i32" },
  // int pam_end(pam_handle_t *handle, int status)
  pam_end: { parameters: ["pointer", "i32"], result: "i32" },
  // const char *pam_strerror(pam_handle_t *handle, int code)
  pam_strerror: { parameters: ["pointer", "i32"], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

const MEMORY_SYMBOLS = {
  // void *calloc(size_t count, size_t size)
  calloc: { parameters: ["usize", "usize"], result: "pointer" },
  // char *strdup(const char *text)
  strdup: { parameters: ["buffer"], result: "pointer" },
} as const satisfies Deno.ForeignLibraryInterface;

const LIBRARY = "libpam.so.0";
const SUCCESS = 0;
const BUFFER_ERROR = 5;
const CONVERSATION_ERROR = 19;
const ITEM_REMOTE_HOST = 4;
const PROMPT_ECHO_OFF = 1;
const PROMPT_ECHO_ON = 2;
/** `PAM_MAX_NUM_MSG`. */
const MOST_MESSAGES = 32;
const POINTER_BYTES = 8;
const RESPONSE_BYTES = 16;

/** Whose password is to be checked, and by what. */
export interface PamRequest {
  service: string;
  user: string;
  password: string;
  /** `PAM_RHOST`; empty: it came by no network. */
  remoteHost: string;
  /** Where services are looked for, if not in the system's own places. */
  configDirectory: string | undefined;
}

/** What PAM said, and when; `code` 0 is a yes. */
export interface PamResult {
  step: "start" | "authenticate" | "account";
  code: number;
  text: string;
}

type Library = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
type Memory = Deno.DynamicLibrary<typeof MEMORY_SYMBOLS>["symbols"];

let library: Library | undefined;
let memory: Memory | undefined;

/** Opens libpam; what stands in the way, if anything does. */
export function openPam(): string | undefined {
  if (library !== undefined) return undefined;
  try {
    memory = Deno.dlopen("libc.so.6", MEMORY_SYMBOLS).symbols;
    library = Deno.dlopen(LIBRARY, SYMBOLS).symbols;
    return undefined;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return `${LIBRARY} can't be opened (Debian and Ubuntu: package libpam0g; Fedora: pam-libs): ${why}`;
  }
}

/** Has PAM check a password, and whether the account may be used now. Takes as long as the modules do. */
export function checkByPam(request: PamRequest): PamResult {
  const missing = openPam();
  if (missing !== undefined) return { step: "start", code: -1, text: missing };
  const pam = library!;
  const conversation = new Deno.UnsafeCallback(
    { parameters: ["i32", "pointer", "pointer", "pointer"], result: "i32" },
    (count, messages, responses) => converse(request, count, messages, responses),
  );
  try {
    const handleAt = new BigUint64Array(1);
    const code = start(pam, request, conversation.pointer, handleAt);
    const handle = Deno.UnsafePointer.create(handleAt[0]!);
    if (code !== SUCCESS) return { step: "start", code, text: textOf(pam, handle, code) };
    const result = ask(pam, handle, request);
    pam.pam_end(handle, result.code);
    return result;
  } finally {
    conversation.close();
  }
}

function start(
  pam: Library,
  { service, user, configDirectory }: PamRequest,
  conversation: Deno.PointerValue,
  handleAt: BigUint64Array<ArrayBuffer>,
): number {
  // struct pam_conv: the function, and what it is called with.
  const pair = new BigUint64Array([Deno.UnsafePointer.value(conversation), 0n]);
  const name = bytesOf(service);
  if (configDirectory === undefined) {
    return pam.pam_start(name, bytesOf(user), pair, handleAt);
  }
  if (pam.pam_start_confdir === null) return BUFFER_ERROR;
  return pam.pam_start_confdir(name, bytesOf(user), pair, bytesOf(configDirectory), handleAt);
}

function ask(pam: Library, handle: Deno.PointerValue, { remoteHost }: PamRequest): PamResult {
  if (remoteHost !== "") pam.pam_set_item(handle, ITEM_REMOTE_HOST, bytesOf(remoteHost));
  const authenticated = pam.pam_authenticate(handle, 0);
  if (authenticated !== SUCCESS) {
    return { step: "authenticate", code: authenticated, text: textOf(pam, handle, authenticated) };
  }
  const code = pam.pam_acct_mgmt(handle, 0);
  return { step: "account", code, text: textOf(pam, handle, code) };
}

/** A prompt that hides what is typed gets the password, one that shows it the user's name; the rest is not shown to anybody. */
function converse(
  { user, password }: PamRequest,
  count: number,
  messages: Deno.PointerValue,
  responses: Deno.PointerValue,
): number {
  if (count <= 0 || count > MOST_MESSAGES || messages === null || responses === null) {
    return CONVERSATION_ERROR;
  }
  const answers = memory!.calloc(BigInt(count), BigInt(RESPONSE_BYTES));
  if (answers === null) return BUFFER_ERROR;
  const list = new Deno.UnsafePointerView(messages);
  for (let i = 0; i < count; i++) {
    const message = list.getPointer(i * POINTER_BYTES);
    if (message === null) continue;
    const style = new Deno.UnsafePointerView(message).getInt32();
    if (style === PROMPT_ECHO_OFF) put(answers, i, password);
    else if (style === PROMPT_ECHO_ON) put(answers, i, user);
  }
  write(responses, 0, Deno.UnsafePointer.value(answers));
  return SUCCESS;
}

function put(answers: Deno.PointerObject, index: number, text: string): void {
  write(answers, index * RESPONSE_BYTES, Deno.UnsafePointer.value(memory!.strdup(bytesOf(text))));
}

function write(at: Deno.PointerObject, offset: number, value: bigint): void {
  const room = Deno.UnsafePointerView.getArrayBuffer(at, POINTER_BYTES, offset);
  new BigUint64Array(room)[0] = value;
}

function textOf(pam: Library, handle: Deno.PointerValue, code: number): string {
  const text = pam.pam_strerror(handle, code);
  return text === null ? `code ${code}` : Deno.UnsafePointerView.getCString(text);
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
