// SPDX-License-Identifier: GPL-2.0
/*
 * mmap(): a program is given its circuit's memory.
 *
 * Theory of operation. CSVN_IOC_MAP makes the circuit's struct csvn_mapping, and tells the layout; from then on the
 * own control page has two hands that write it, the program's and ours, and we take our cursors from it
 * (csvn_take_tx(), csvn_tail() and their likes) as we take the peer's: loaded once, and checked by subtraction.
 * mmap() itself touches nothing of the socket but its spinlock, because it is called under mmap_lock, which a copy
 * under the socket's mutexes may wait for.
 *
 * What is mapped, and how it is taken away again: mapping.c.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/uaccess.h>

#include <csvn/mapping.h>

#include "circuit.h"
#include "doorbell.h"
#include "mapping.h"
#include "mmap.h"
#include "sock.h"

/* CSVN_IOC_MAP */
int csvn_map(struct csvn_sock *cs, void __user *arg)
{
	struct csvn_map_layout layout = {};
	struct csvn_mapping *m;
	struct csvn_circuit *c;
	u32 version;
	int err = 0;

	if (get_user(version, &((struct csvn_map_layout __user *)arg)->version))
		return -EFAULT;
	m = csvn_mapping_new();
	if (IS_ERR(m))
		return PTR_ERR(m);
	layout.version = CSVN_MAP_VERSION;

	mutex_lock(&cs->tx); /* between two transfers, so that none publishes what it knew before */
	mutex_lock(&cs->rx);
	spin_lock_irq(&cs->lock);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (version != CSVN_MAP_VERSION) {
		err = -EPROTONOSUPPORT;
	} else if (!c || c->lost || cs->broken) {
		err = -ENOTCONN;
	} else {
		if (!c->mapping) {
			csvn_mapping_set(m, c);
			WRITE_ONCE(c->mapping, m);
			csvn_mapping_reset(c);
			m = NULL;
		}
		layout.ring_size = c->end.size;
		layout.length = (u64)csvn_part_pages(c->mapping) << PAGE_SHIFT;
		layout.theirs = layout.length;
	}
	spin_unlock_irq(&cs->lock);
	mutex_unlock(&cs->rx);
	mutex_unlock(&cs->tx);

	if (m)
		fput(m->file);
	if ((!err || err == -EPROTONOSUPPORT) && copy_to_user(arg, &layout, sizeof(layout)))
		return -EFAULT;
	return err;
}

static int csvn_mapping_check(const struct csvn_mapping *m, const struct vm_area_struct *vma)
{
	u32 part_pages = csvn_part_pages(m);
	u32 first = vma->vm_pgoff % part_pages;

	if (vma->vm_pgoff >= CSVN_PARTS * part_pages || vma_pages(vma) > part_pages - first)
		return -EINVAL;
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL; /* there is no copy to be had */
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (vma->vm_pgoff >= part_pages && (vma->vm_flags & VM_WRITE))
		return -EACCES;
	return 0;
}

int csvn_mmap(struct file *file, struct socket *sock, struct vm_area_struct *vma)
{
	struct csvn_sock *cs = csvn_sk(sock);
	struct csvn_mapping *m;
	struct csvn_circuit *c;
	struct file *own;
	int err;

	switch (csvn_state(cs)) {
	case CSVN_CONNECTED:
	case CSVN_CONNECTING:
	case CSVN_FAILED:
		break;
	default:
		return csvn_native(sock)->mmap(file, sock, vma);
	}
	spin_lock_irq(&cs->lock);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	own = c && !c->lost ? csvn_mapping_get(c) : NULL;
	spin_unlock_irq(&cs->lock);
	if (!own)
		return -ENODEV;
	m = own->private_data;
	err = csvn_mapping_check(m, vma);
	if (!err) {
		csvn_vm_flags(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY,
			      VM_MAYEXEC | (vma->vm_pgoff < csvn_part_pages(m) ? 0 : VM_MAYWRITE));
		vma->vm_ops = &csvn_mapping_vm;
		vma_set_file(vma, own);
	}
	fput(own);
	return err;
}

/* CSVN_IOC_KICK */
int csvn_kick(struct csvn_sock *cs)
{
	struct csvn_circuit *c;

	spin_lock_irq(&cs->lock);
	c = rcu_dereference_protected(cs->circuit, lockdep_is_held(&cs->lock));
	if (c && !c->lost && !cs->broken)
		refcount_inc(&c->ref);
	else
		c = NULL;
	spin_unlock_irq(&cs->lock);
	if (!c)
		return -ENOTCONN;
	csvn_ring(c);
	csvn_circuit_put(c);
	return 0;
}
