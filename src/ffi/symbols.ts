/**
 * The helper library's symbol table: one row per function of `lib/include/csvn/abi.h`, each parameter with its C name.
 *
 * @module
 */

const handle = "i32"; // int: an object
const fd = "i32"; // int: a descriptor
const result = "i32"; // int: >= 0, or -errno

/** What `Deno.dlopen` is given. */
export const symbols = {
  csvn_abi_version: { parameters: [], result: "u32" },

  csvn_plane_open: { parameters: ["u32" /* event_bytes */], result },
  csvn_plane_close: { parameters: [handle /* plane */], result },
  csvn_counters: { parameters: [handle, /* plane */ "buffer", /* out */ "u32" /* bytes */], result },

  csvn_events_take: { parameters: [handle, /* plane */ "buffer", /* buffer */ "u32" /* bytes */], result },
  csvn_events_bell: { parameters: [handle, /* plane */ "buffer", /* path */ "u32" /* path_bytes */], result },
  csvn_events_park: { parameters: [handle /* plane */], result },
  // Through the event loop once, where a timer would take a millisecond or more: what it calls is of no importance.
  csvn_turn: { name: "csvn_abi_version", parameters: [], result: "u32", nonblocking: true },
  csvn_events_wake: { parameters: [handle /* plane */], result },

  csvn_standin_hand_over: { parameters: [handle /* plane */], result },
  csvn_standin_start: { parameters: [handle, /* plane */ "buffer", /* path */ "u32" /* path_bytes */], result },

  csvn_listen: {
    parameters: [handle, /* plane */ "buffer", /* path */ "u32", /* path_bytes */ "u32" /* mode */],
    result,
  },
  csvn_unlisten: { parameters: [handle, /* plane */ handle /* listener */], result },

  csvn_session_send: {
    parameters: [handle, /* plane */ handle, /* session */ "buffer", /* bytes */ "u32", /* count */ fd /* fd */],
    result,
  },
  csvn_session_close: { parameters: [handle, /* plane */ handle /* session */], result },
  csvn_backend_attach: { parameters: [handle, /* plane */ handle, /* session */ fd /* fd */], result },
  csvn_backend_send: {
    parameters: [handle, /* plane */ handle, /* session */ "buffer", /* bytes */ "u32", /* count */ fd /* fd */],
    result,
  },

  csvn_device_open: { parameters: [handle /* plane */], result },
  csvn_device_close: { parameters: [handle, /* plane */ handle /* device */], result },
  csvn_device_memory: {
    parameters: [handle, /* plane */ handle, /* device */ "buffer", /* regions */ "u32" /* count */],
    result,
  },
  csvn_queue_start: { parameters: [handle, /* plane */ handle, /* device */ "buffer" /* setup */], result },
  csvn_queue_set_call: {
    parameters: [handle, /* plane */ handle, /* device */ "u32", /* queue */ fd /* fd */],
    result,
  },
  csvn_queue_stop: { parameters: [handle, /* plane */ handle, /* device */ "u32" /* queue */], result },
  csvn_device_reply: {
    parameters: [
      handle, /* plane */
      handle, /* device */
      "u32", /* ticket */
      "buffer", /* bytes */
      "u32", /* count */
    ],
    result,
  },
  csvn_device_announce: {
    parameters: [handle, /* plane */ handle, /* device */ "buffer", /* bytes */ "u32" /* count */],
    result,
  },

  csvn_signals: { parameters: [handle, /* plane */ "u32" /* hold */], result },

  csvn_route_add: {
    parameters: [handle, /* plane */ handle, /* device */ "u32", /* id */ handle, /* peer */ "u32" /* peer_id */],
    result,
  },
  csvn_route_remove: { parameters: [handle, /* plane */ handle, /* device */ "u32" /* id */], result },

  csvn_host_arena_map: { parameters: [handle, /* plane */ fd, /* fd */ "u64" /* bytes */], result },
  csvn_host_arena_unmap: { parameters: [handle, /* plane */ handle /* arena */], result },
  csvn_host_open: { parameters: [handle, /* plane */ "buffer" /* setup */], result },
  csvn_host_datagram_open: { parameters: [handle, /* plane */ "buffer" /* setup */], result },
  csvn_host_datagram_permit: {
    parameters: [handle, /* plane */ handle, /* circuit */ "buffer" /* permit */],
    result,
  },
  csvn_host_datagram_forget: {
    parameters: [handle, /* plane */ handle, /* circuit */ "buffer" /* guest */],
    result,
  },
  csvn_host_datagram_moved: {
    parameters: [handle, /* plane */ handle, /* circuit */ "buffer", /* guest */ "buffer" /* out */],
    result,
  },
  csvn_host_datagram_finish: { parameters: [handle, /* plane */ handle /* circuit */], result },
  csvn_host_datagram_close: { parameters: [handle, /* plane */ handle /* circuit */], result },
  csvn_host_finish: { parameters: [handle, /* plane */ handle /* circuit */], result },
  csvn_host_close: { parameters: [handle, /* plane */ handle /* circuit */], result },
  csvn_host_listen: { parameters: [handle, /* plane */ "buffer" /* address */], result },
  csvn_host_listener_port: { parameters: [handle, /* plane */ handle /* listener */], result },
  csvn_host_unlisten: { parameters: [handle, /* plane */ handle /* listener */], result },
  csvn_host_wait: { parameters: [handle, /* plane */ handle /* connection */], result },
  csvn_host_refuse: { parameters: [handle, /* plane */ handle /* connection */], result },
  csvn_host_options: {
    parameters: [handle, /* plane */ handle, /* circuit */ "buffer", /* options */ "u32" /* bytes */],
    result,
  },

  csvn_arena_create: { parameters: ["u64" /* bytes */], result },
  csvn_arena_stamp: { parameters: [fd, /* fd */ "buffer", /* bytes */ "u32" /* count */], result },
  csvn_arena_punch: { parameters: [fd, /* fd */ "u64", /* offset */ "u64" /* bytes */], result },
  csvn_arena_wipe: { parameters: [fd, /* fd */ "u64", /* offset */ "u64", /* bytes */ "u32" /* keep */], result },
  csvn_arena_pages: { parameters: [fd /* fd */], result },

  csvn_fd_identity: { parameters: [fd, /* fd */ "buffer" /* device_and_inode */], result },
  csvn_fd_close: { parameters: [fd /* fd */], result },
} as const satisfies Deno.ForeignLibraryInterface;
