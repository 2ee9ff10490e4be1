// SPDX-License-Identifier: GPL-2.0
/*
 * debugfs csvn/circuits: what each open circuit's cursors and sleep sequences are, for finding out who waits for whom.
 *
 * Circuits are in no native table, so ss(8) and /proc/net/tcp do not show them; this does. Values are read without
 * locks, as they are.
 */
#include <linux/debugfs.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>

#include "debug.h"
#include "device.h"

static struct dentry *csvn_debug_dir;

static void csvn_debug_name(struct seq_file *m, const struct csvn_endpoint *e)
{
	if (e->family == 4)
		seq_printf(m, " %pI4:%u", e->ip, e->port);
	else
		seq_printf(m, " [%pI6c]:%u", e->ip, e->port);
}

static void csvn_debug_circuit(struct seq_file *m, struct csvn_circuit *c)
{
	const struct csvn_end *e = &c->end;
	struct csvn_owner *owner = smp_load_acquire(&c->owner);
	const struct csvn_sock *cs = owner && !c->datagram ? container_of(owner, struct csvn_sock, owner) : NULL;

	seq_printf(m, "%u", c->id);
	csvn_debug_name(m, &c->local);
	csvn_debug_name(m, &c->remote);
	if (c->lost) {
		seq_puts(m, " lost\n");
		return;
	}
	seq_printf(m, " state %#x/%#x tx %llu seen %llu now %llu rx %llu seen %llu now %llu",
		   c->state, CSVN_LOAD(&e->peer->state), e->tail, e->peer_head,
		   CSVN_LOAD(&e->peer->head), e->head, e->peer_tail, CSVN_LOAD(&e->peer->tail));
	seq_printf(m, " armed %u %u rung %u of %u, %u of %u", e->sleep_rx, e->sleep_tx,
		   e->rung_rx, CSVN_LOAD(&e->peer->sleep_rx), e->rung_tx,
		   CSVN_LOAD(&e->peer->sleep_tx));
	if (cs)
		seq_printf(m, " %s%s", cs->edge ? "edge " : "", cs->broken ? "broken" : "open");
	else
		seq_puts(m, " waits for accept");
	seq_putc(m, '\n');
}

static int csvn_debug_circuits_show(struct seq_file *m, void *v)
{
	struct csvn_device *dev = csvn_device_get();
	struct csvn_circuit *c;
	unsigned int i;

	if (!dev)
		return 0;
	rcu_read_lock(); /* the window stays as long: see csvn_circuits_lost() */
	for (i = 0; i < ARRAY_SIZE(dev->circuits); i++)
		hlist_for_each_entry_rcu(c, &dev->circuits[i], node)
			csvn_debug_circuit(m, c);
	rcu_read_unlock();
	csvn_device_put(dev);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(csvn_debug_circuits);

void csvn_debug_init(void)
{
	csvn_debug_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("circuits", 0400, csvn_debug_dir, NULL, &csvn_debug_circuits_fops);
}

void csvn_debug_exit(void)
{
	debugfs_remove(csvn_debug_dir);
}
