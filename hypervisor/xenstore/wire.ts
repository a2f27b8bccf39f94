// The xenstore wire protocol: numbers of the public header io/xs_wire.h and the
// framing of docs/misc/xenstore.txt. Everything on the wire is little-endian.

/** Operation numbers (enum xsd_sockmsg_type). 18 is the last before a hole: 20 was RESTRICT. */
export const XS_CONTROL = 0;
export const XS_DIRECTORY = 1;
export const XS_READ = 2;
export const XS_GET_PERMS = 3;
export const XS_WATCH = 4;
export const XS_UNWATCH = 5;
export const XS_TRANSACTION_START = 6;
export const XS_TRANSACTION_END = 7;
export const XS_INTRODUCE = 8;
export const XS_RELEASE = 9;
export const XS_GET_DOMAIN_PATH = 10;
export const XS_WRITE = 11;
export const XS_MKDIR = 12;
export const XS_RM = 13;
export const XS_SET_PERMS = 14;
export const XS_WATCH_EVENT = 15;
export const XS_ERROR = 16;
export const XS_IS_DOMAIN_INTRODUCED = 17;
export const XS_RESUME = 18;
export const XS_SET_TARGET = 19;
export const XS_RESET_WATCHES = 21;
export const XS_DIRECTORY_PART = 22;

/** sizeof(struct xsd_sockmsg): type, req_id, tx_id, len. */
export const HEADER_SIZE = 16;
export const PAYLOAD_MAX = 4096;
/** Longest path below /local/domain/<domid>/, and longest path anywhere else. */
export const REL_PATH_MAX = 2048;

// struct xenstore_domain_interface, byte offsets in the shared page.
export const RING_SIZE = 1024;
export const RING_REQ = 0;
export const RING_RSP = 1024;
export const RING_REQ_CONS = 2048;
export const RING_REQ_PROD = 2052;
export const RING_RSP_CONS = 2056;
export const RING_RSP_PROD = 2060;
export const RING_SERVER_FEATURES = 2064;
export const RING_CONNECTION = 2068;
export const RING_ERROR = 2072;

export const CONNECTION_CONNECTED = 0;
export const CONNECTION_RECONNECT = 1;

export const RING_ERROR_NONE = 0;
export const RING_ERROR_COMM = 1;
export const RING_ERROR_RINGIDX = 2;
export const RING_ERROR_PROTO = 3;

/** A positive errno value; 0 is success. */
export type Errno = number;
export const EPERM = 1;
export const ENOENT = 2;
export const EIO = 5;
export const E2BIG = 7;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EBUSY = 16;
export const EEXIST = 17;
export const EINVAL = 22;
export const ENOSPC = 28;
export const ENOSYS = 38;

/** Errors travel as names. The list is xsd_errors[] of the header, with the Linux errno beside each name. */
const ERROR_NAMES: ReadonlyMap<Errno, string> = new Map([
  [EINVAL, "EINVAL"],
  [EACCES, "EACCES"],
  [EEXIST, "EEXIST"],
  [21, "EISDIR"],
  [ENOENT, "ENOENT"],
  [ENOMEM, "ENOMEM"],
  [ENOSPC, "ENOSPC"],
  [EIO, "EIO"],
  [39, "ENOTEMPTY"],
  [ENOSYS, "ENOSYS"],
  [30, "EROFS"],
  [EBUSY, "EBUSY"],
  [EAGAIN, "EAGAIN"],
  [106, "EISCONN"],
  [E2BIG, "E2BIG"],
  [EPERM, "EPERM"],
]);

/** The name that goes on the wire; an errno without one becomes EINVAL, as in xenstored. */
export function errorName(errno: Errno): string {
  return ERROR_NAMES.get(errno) ?? "EINVAL";
}

/** Bytes to a string of the same length, one code unit a byte, so that any octet survives. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 1024) text += String.fromCharCode(...bytes.subarray(i, i + 1024));
  return text;
}

/** The inverse of latin1(); code units above 0xff keep their low byte. */
export function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export interface Header {
  type: number;
  requestId: number;
  transactionId: number;
  /** Payload bytes that follow. */
  length: number;
}

/** Reads a struct xsd_sockmsg from the first HEADER_SIZE bytes. */
export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_SIZE);
  return {
    type: view.getUint32(0, true),
    requestId: view.getUint32(4, true),
    transactionId: view.getUint32(8, true),
    length: view.getUint32(12, true),
  };
}

/** One whole message, header and payload. */
export function encodeMessage(type: number, requestId: number, transactionId: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_SIZE + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, requestId, true);
  view.setUint32(8, transactionId, true);
  view.setUint32(12, payload.length, true);
  bytes.set(payload, HEADER_SIZE);
  return bytes;
}

/** The NUL-terminated strings of a payload, in order; bytes after the last NUL are no string. */
export function strings(payload: Uint8Array): string[] {
  const found: string[] = [];
  let start = 0;
  for (let end = payload.indexOf(0); end >= 0; end = payload.indexOf(0, start)) {
    found.push(latin1(payload.subarray(start, end)));
    start = end + 1;
  }
  return found;
}

/** The payload as exactly one string with its NUL at the very end, or null. */
export function onlyString(payload: Uint8Array): string | null {
  const end = payload.indexOf(0);
  return end >= 0 && end === payload.length - 1 ? latin1(payload.subarray(0, end)) : null;
}

/** Decimal prefix of a text as C's atoi reads it: white space, sign, digits; 0 if there are none. 32-bit result. */
export function atoi(text: string): number {
  const match = /^[ \t\n\v\f\r]*([+-]?\d{1,18})/.exec(text);
  return match === null ? 0 : Number(match[1]) | 0;
}
