/**
 * The names under which the guests' figures stand.
 *
 * @module
 */

/** Between two guests. */
export const GUEST_TO_GUEST = "guest to guest";
/** From a guest to a program on its host. */
export const GUEST_TO_HOST = "guest to host";
