// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's driver of csvn: TCP and UDP sockets over shared-memory circuits.
 *
 * Theory of operation. Loading the module takes over the creation of TCP and UDP sockets (family.c, sock.c), and registers a virtio
 * driver (driver.c). Without a device every socket works as before. With one there is an interface csvn0 (netdev.c,
 * rtnl.c), and what is routed to it goes over circuits: connect.c, listen.c and accept.c set them up by requests
 * (control.c) and events (event.c, arena.c); send.c, recv.c, poll.c and wait.c move bytes by the ring operations of
 * csvn/ring.h; attach.c and doorbell.c wake and are woken; close.c ends it. Datagram sockets are dgram_*.c.
 *
 * Sockets hold the module. The device may come and go at any time: circuits break then, listeners wait for the next one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "debug.h"
#include "dgram_orphan.h"
#include "driver.h"
#include "family.h"
#include "listener.h"

unsigned int csvn_spin_us = 500;
module_param_named(spin_us, csvn_spin_us, uint, 0644);
MODULE_PARM_DESC(spin_us, "longest look before sleeping, in microseconds, up to 1000; 0: none");

unsigned int csvn_datagram_idle = 60;
module_param_named(datagram_idle, csvn_datagram_idle, uint, 0644);
MODULE_PARM_DESC(datagram_idle, "seconds after which an unused datagram circuit is closed");

bool csvn_hairpin;
module_param_named(hairpin, csvn_hairpin, bool, 0644);
MODULE_PARM_DESC(hairpin, "connections to the own address go over circuits too");

struct workqueue_struct *csvn_workqueue;
struct workqueue_struct *csvn_arena_workqueue; /* that is waited for, whatever the other one's works wait for */

static int __init csvn_init(void)
{
	int err;

	csvn_workqueue = alloc_workqueue("csvn", WQ_UNBOUND, 0);
	if (!csvn_workqueue)
		return -ENOMEM;
	err = -ENOMEM;
	csvn_arena_workqueue = alloc_workqueue("csvn_arena", WQ_UNBOUND, 0);
	if (!csvn_arena_workqueue)
		goto fail_arena;
	err = csvn_device_init();
	if (err)
		goto fail_device;
	err = csvn_family_init(); /* last: sockets that exist hold the module */
	if (err)
		goto fail_family;
	csvn_debug_init();
	return 0;

fail_family:
	csvn_device_exit();
fail_device:
	destroy_workqueue(csvn_arena_workqueue);
fail_arena:
	destroy_workqueue(csvn_workqueue);
	return err;
}

static void __exit csvn_exit(void)
{
	csvn_debug_exit();
	csvn_family_exit();
	csvn_device_exit();
	csvn_orphans_exit();
	destroy_workqueue(csvn_arena_workqueue);
	destroy_workqueue(csvn_workqueue);
	csvn_listeners_exit();
}

module_init(csvn_init);
module_exit(csvn_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("csvn");
MODULE_DESCRIPTION("TCP and UDP sockets over shared-memory circuits (virtio-circuit)");
