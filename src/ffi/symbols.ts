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
  // Through the event loop once, where a timer would take a millisecond or more: what it calls is of no importance.
  csvn_turn: { name: "csvn_abi_version", parameters: [], result: "u32", nonblocking: true },

  csvn_plane_open: {
    parameters: [
      "buffer", /* program */
      "u32", /* program_bytes */
      "buffer", /* bell */
      "u32", /* bell_bytes */
      "u32", /* first_id */
      "u32", /* descriptors */
    ],
    result,
  },
  csvn_plane_close: { parameters: [handle /* plane */], result },
  csvn_plane_short: { parameters: [handle /* plane */], result },

  csvn_listen: {
    parameters: [handle, /* plane */ "buffer", /* path */ "u32", /* path_bytes */ "u32" /* mode */],
    result,
  },
  csvn_unlisten: { parameters: [handle, /* plane */ handle /* listener */], result },
  csvn_accepted_take: { parameters: [handle, /* plane */ "buffer" /* out */], result },
  csvn_ports_hear: { parameters: [handle, /* plane */ "buffer", /* ports */ "u32" /* most */], result },
  csvn_ended_take: { parameters: [handle, /* plane */ "buffer" /* signal */], result },

  csvn_janitor_add: { parameters: [handle /* plane */], result },
  // A process is made meanwhile.
  csvn_port_start: { parameters: [handle, /* plane */ handle /* port */], result, nonblocking: true },
  csvn_port_command: {
    parameters: [
      handle, /* plane */
      handle, /* port */
      "u32", /* kind */
      handle, /* handle */
      "u32", /* aux */
      "buffer", /* bytes */
      "u32", /* count */
      "u32", /* later */
    ],
    result,
  },
  csvn_ports_flush: { parameters: [handle /* plane */], result },
  csvn_port_give: { parameters: [handle, /* plane */ handle, /* port */ handle, /* file */ fd /* fd */], result },
  csvn_port_take: {
    parameters: [
      handle, /* plane */
      handle, /* port */
      "buffer", /* buffer */
      "u32", /* bytes */
      "buffer", /* progress */
    ],
    result,
  },
  csvn_port_want: { parameters: [handle, /* plane */ handle, /* port */ "u64" /* done */], result },
  csvn_port_progress: { parameters: [handle, /* plane */ handle, /* port */ "buffer" /* progress */], result },
  csvn_port_moved: {
    parameters: [handle, /* plane */ handle, /* port */ "u32", /* number */ "buffer" /* sent_and_received */],
    result,
  },
  csvn_port_revoke: {
    parameters: [handle, /* plane */ handle, /* port */ "u32", /* what */ "u32", /* number */ "u32" /* revoked */],
    result,
  },
  csvn_port_state: { parameters: [handle, /* plane */ handle /* port */], result },
  csvn_port_pid: { parameters: [handle, /* plane */ handle /* port */], result },
  csvn_port_kill: { parameters: [handle, /* plane */ handle /* port */], result },
  csvn_port_forget: { parameters: [handle, /* plane */ handle /* port */], result },

  csvn_arena_create: { parameters: ["u64" /* bytes */], result },
  csvn_arena_stamp: { parameters: [fd, /* fd */ "buffer", /* bytes */ "u32" /* count */], result },
  csvn_arena_pages: { parameters: [fd /* fd */], result },

  csvn_board_create: { parameters: [], result },
  csvn_eventfd_create: { parameters: [], result },

  csvn_cgroup_make: { parameters: ["buffer", /* path */ "u32" /* path_bytes */], result, nonblocking: true },
  csvn_cgroup_write: {
    parameters: ["buffer", /* path */ "u32", /* path_bytes */ "buffer", /* text */ "u32" /* text_bytes */],
    result,
    nonblocking: true,
  },
  csvn_cgroup_remove: { parameters: ["buffer", /* path */ "u32" /* path_bytes */], result, nonblocking: true },

  csvn_fd_identity: { parameters: [fd, /* fd */ "buffer" /* device_and_inode */], result },
  csvn_fd_close: { parameters: [fd /* fd */], result },
  csvn_fd_close_apart: { parameters: [fd /* fd */], result },
  csvn_fd_count: { parameters: [], result },
} as const satisfies Deno.ForeignLibraryInterface;
