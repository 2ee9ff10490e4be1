/**
 * The numbers of the helper library's interface, as `lib/include/csvn/abi.h` has them: versions, kinds of events, sizes and offsets in bytes. A test compares
 * them with what the C compiler makes of the header.
 *
 * @module
 */

/** The version that {@linkcode Library} insists on. */
export const ABI_VERSION = 6;
/** Descriptors with one message. */
export const MESSAGE_FDS = 8;

/** Kinds of events. */
export const EventKind = {
  ACCEPTED: 1,
  MESSAGE: 2,
  BACKEND_MESSAGE: 3,
  SESSION_END: 4,
  BACKEND_END: 5,
  CONTROL: 6,
  DEVICE_FAULT: 7,
  HOST_CONNECTED: 8,
  HOST_DONE: 9,
  HOST_ACCEPTED: 10,
  HOST_SOURCE: 11,
  HOST_DATAGRAM_DONE: 12,
  HOST_GONE: 13,
  SHORT: 14,
} as const;

/** Structures, by their C names. */
export const Layout = {
  event_header: { size: 16, length: 0, kind: 4, handle: 8, aux: 12 },
  event_accepted: { size: 16, pid: 0, uid: 4, gid: 8 },
  event_message: { size: 48, request: 0, flags: 4, size_: 8, descriptors: 12, fds: 16 },
  event_control: { size: 8, size_: 0, room: 4 },
  event_done: { size: 16, sent: 0, received: 8 },
  host_address: { size: 28, family: 0, port: 4, scope: 8, ip: 12 },
  host_setup: {
    size: 136,
    device: 0,
    id: 4,
    arena: 8,
    ring_size: 12,
    own_control: 16,
    peer_control: 24,
    tx_ring: 32,
    rx_ring: 40,
    connection: 48,
    remote: 52,
    options: 80,
  },
  host_permit: { size: 64, guest: 0, actual: 28, allowed: 56, error: 60 },
  host_moved: { size: 16, sent: 0, received: 8 },
  region: { size: 40, guest: 0, size_: 8, user: 16, offset: 24, fd: 32 },
  queue_setup: {
    size: 56,
    features: 0,
    desc: 8,
    used: 16,
    avail: 24,
    index: 32,
    size_: 36,
    base: 40,
    kick: 44,
    call: 48,
  },
} as const;
