/**
 * Numbers of the vhost-user protocol that this back-end speaks.
 *
 * Source: QEMU's "Vhost-user Protocol" specification; shared-memory regions as in QEMU 11.1.
 *
 * @module
 */

/** Front-end requests, by name. */
export const Request = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_SHMEM_CONFIG: 44,
} as const;

/** Back-end requests, by name. */
export const BackendRequest = {
  CONFIG_CHANGE_MSG: 2,
  SHMEM_MAP: 9,
  SHMEM_UNMAP: 10,
} as const;

/** Bits of the flags word. */
export const Flag = {
  VERSION: 0x1,
  VERSION_MASK: 0x3,
  REPLY: 0x4,
  NEED_REPLY: 0x8,
} as const;

/** Virtio feature bits that are offered, as shifts. */
export const Feature = {
  INDIRECT_DESC: 28n,
  EVENT_IDX: 29n,
  PROTOCOL_FEATURES: 30n,
  VERSION_1: 32n,
} as const;

/** Protocol feature bits that are offered, as shifts. */
export const ProtocolFeature = {
  MQ: 0n,
  REPLY_ACK: 3n,
  BACKEND_REQ: 5n,
  CONFIG: 9n,
  BACKEND_SEND_FD: 10n,
  SHMEM: 22n,
} as const;

function mask(bits: Record<string, bigint>): bigint {
  return Object.values(bits).reduce((sum, bit) => sum | 1n << bit, 0n);
}

/** All virtio features that are offered. */
export const FEATURES: bigint = mask(Feature);
/** All protocol features that are offered. CONFIGURE_MEM_SLOTS is left out on purpose: QEMU 11.1 does not survive it. */
export const PROTOCOL_FEATURES: bigint = mask(ProtocolFeature);

/** Regions that a memory table may have. */
export const MEMORY_REGIONS = 8;
/** Entries of a virtqueue, at most. */
export const QUEUE_SIZE_MAX = 1024;
/** Regions in the reply to GET_SHMEM_CONFIG. */
export const SHMEM_REGIONS = 256;
/** Bytes of a message's header. */
export const HEADER = 12;

/** A front-end broke the protocol: the session ends. The message says what was wrong. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/**
 * A whole message: header and payload.
 *
 * @param request Request id.
 * @param flags Flags beyond the version.
 */
export function encodeMessage(
  request: number,
  flags: number,
  payload: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, flags | Flag.VERSION, true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER);
  return bytes;
}

/** A u64 payload. */
export function encodeU64(value: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

/** A view of a payload. */
export function viewOf(payload: Uint8Array): DataView {
  return new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
}

/** The u64 at the beginning of a payload. */
export function decodeU64(payload: Uint8Array): bigint {
  return viewOf(payload).getBigUint64(0, true);
}
