/**
 * The numbers of the helper library's interface, as `lib/include/csvn/abi.h` has them: versions, kinds of events and commands, sizes and offsets in
 * bytes. A test compares them with what the C compiler makes of the header.
 *
 * @module
 */

/** The version that {@linkcode Library} insists on. */
export const ABI_VERSION = 12;
/** Descriptors with one message. */
export const MESSAGE_FDS = 8;
/** Permits of a port. */
export const MOVED_MAX = 1 << 17;
/** Host circuits of a port. */
export const CIRCUITS_MAX = 1 << 20;

/** Kinds of events. */
export const EventKind = {
  RESULT: 1,
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
  HOST_GONE: 12,
  SHORT: 13,
  JAILED: 14,
} as const;

/** Kinds of commands. */
export const Command = {
  SEND: 1,
  BACKEND_ATTACH: 2,
  BACKEND_SEND: 3,
  TOKEN_CLOSE: 4,
  FILE_CLOSE: 5,
  MEMORY: 6,
  QUEUE_START: 7,
  QUEUE_CALL: 8,
  QUEUE_STOP: 9,
  REPLY: 10,
  ANNOUNCE: 11,
  ROUTE: 12,
  UNROUTE: 13,
  BOARD: 14,
  UNBOARD: 15,
  ARENA: 16,
  UNARENA: 17,
  HOST_OPEN: 18,
  HOST_FINISH: 19,
  HOST_CLOSE: 20,
  HOST_OPTIONS: 21,
  DATAGRAM_OPEN: 22,
  DATAGRAM_PERMIT: 23,
  DATAGRAM_FORGET: 24,
  LISTEN: 25,
  UNLISTEN: 26,
  WAIT: 27,
  REFUSE: 28,
  NOTHING: 29,
  END: 30,
  WIPE: 31,
} as const;

/** What {@linkcode Port.revoke} is about. */
export const Revocable = { CIRCUIT: 0, PERMIT: 1 } as const;

/** What a port is in. */
export const PortState = { WAITS: 0, RUNS: 1, ENDED: 2 } as const;

/** Structures, by their C names. */
export const Layout = {
  record: { size: 16, length: 0, kind: 4, handle: 8, aux: 12 },
  accepted: { size: 24, port: 0, listener: 4, pid: 8, uid: 12, gid: 16 },
  event_message: { size: 176, request: 0, flags: 4, size_: 8, descriptors: 12, tokens: 16, files: 48 },
  event_control: { size: 8, size_: 0, room: 4 },
  event_done: { size: 16, sent: 0, received: 8 },
  host_address: { size: 28, family: 0, port: 4, scope: 8, ip: 12 },
  host_setup: {
    size: 128,
    id: 0,
    arena: 4,
    ring_size: 8,
    connection: 12,
    own_control: 16,
    peer_control: 24,
    tx_ring: 32,
    rx_ring: 40,
    remote: 48,
    options: 76,
  },
  host_permit: { size: 72, guest: 0, actual: 28, allowed: 56, error: 60, number: 64 },
  region: { size: 40, guest: 0, size_: 8, user: 16, offset: 24, token: 32 },
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
  route: { size: 16, id: 0, board: 4, mark: 8, own_mark: 12 },
  board: { size: 16, memory: 0, bell: 4, own_bell: 8, side: 12 },
  wipe: { size: 24, offset: 0, bytes: 8, keep: 16, patient: 20 },
  progress: { size: 144, done: 0, delivered: 8, delivered_resets: 16, counters: 24 },
} as const;
