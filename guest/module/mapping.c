// SPDX-License-Identifier: GPL-2.0
/*
 * A circuit's memory in programs, and how it is taken from them.
 *
 * A mapping's file is not the socket's but its own, so that close() of the socket ends the circuit whoever has it
 * mapped. That file counts this module, has the mapping's own address space (where unmap_mapping_range() finds the
 * pages, in whichever process), and lives as long as anybody maps it. Pages are put in by faults alone, under the
 * mapping's lock, and not once it has ended: csvn_mapping_end() says so first, and takes the pages out then. It comes
 * before anybody else could get the memory: before CLOSE (csvn_detach()), before the device goes
 * (csvn_stream_lost()). A touch from then on is SIGBUS.
 *
 * Pages are mapped as cacheable as our own mapping of the window (memremap(), write-back): vmf_insert_pfn() looks that
 * up.
 *
 * After a RESET event the device may unmap the arena 5 s later, so the mapping ends some time before that.
 */
#include <linux/anon_inodes.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "mapping.h"

#define CSVN_RESET_GRACE_MS 3000 /* to read what is left in the ring */
#define CSVN_FAULT_PAGES 512u /* put in by one fault */

static_assert(PAGE_SIZE == CSVN_PAGE, "a page must not be shared by two circuits");

/* The page frame at a page of the file, which csvn_mmap() has checked to lie in one of the parts. */
static unsigned long csvn_mapping_frame(const struct csvn_mapping *m, pgoff_t at)
{
	u32 part = at / csvn_part_pages(m);
	u32 page = at % csvn_part_pages(m);

	return page ? m->ring[part] + ((page - 1) & (m->pages - 1)) : m->control[part];
}

static vm_fault_t csvn_mapping_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct csvn_mapping *m = vma->vm_file->private_data;
	unsigned long address = vmf->address & PAGE_MASK;
	vm_fault_t ret = VM_FAULT_SIGBUS, more;
	pgoff_t at = vmf->pgoff;
	u32 i;

	down_read(&m->lock);
	if (m->ended)
		goto out;
	ret = vmf_insert_pfn(vma, address, csvn_mapping_frame(m, at));
	for (i = 1; i < CSVN_FAULT_PAGES && ret == VM_FAULT_NOPAGE; i++) {
		address += PAGE_SIZE;
		if (address >= vma->vm_end)
			break;
		more = vmf_insert_pfn(vma, address, csvn_mapping_frame(m, at + i));
		if (more != VM_FAULT_NOPAGE)
			break; /* for a fault of its own */
	}
out:
	up_read(&m->lock);
	return ret;
}

const struct vm_operations_struct csvn_mapping_vm = { .fault = csvn_mapping_fault };

static int csvn_mapping_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations csvn_mapping_file = {
	.owner = THIS_MODULE,
	.release = csvn_mapping_release,
};

/* No program touches the circuit's memory when this returns. May sleep. */
void csvn_mapping_end(struct csvn_mapping *m)
{
	down_write(&m->lock);
	m->ended = true;
	up_write(&m->lock);
	unmap_mapping_range(&m->space, 0, 0, 1);
}

static void csvn_mapping_work(struct work_struct *work)
{
	struct csvn_mapping *m = container_of(work, struct csvn_mapping, work.work);

	csvn_mapping_end(m);
	fput(m->file);
}

/*
 * The switch has reset the circuit: what is in the ring may be read for a while. cs->lock is held, c is its
 * circuit.
 */
void csvn_mapping_reset(struct csvn_circuit *c)
{
	struct csvn_mapping *m = c->mapping;

	if (!m || !READ_ONCE(c->reset))
		return;
	get_file(m->file);
	if (!queue_delayed_work(csvn_workqueue, &m->work, msecs_to_jiffies(CSVN_RESET_GRACE_MS)))
		fput(m->file);
}

/* The circuit has no use for its mapping any more, which has ended. */
void csvn_mapping_drop(struct csvn_circuit *c)
{
	struct csvn_mapping *m = c->mapping;

	if (!m)
		return;
	c->mapping = NULL;
	if (cancel_delayed_work(&m->work))
		fput(m->file);
	fput(m->file);
}

struct csvn_mapping *csvn_mapping_new(void)
{
	struct csvn_mapping *m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	struct file *file;

	if (!m)
		return ERR_PTR(-ENOMEM);
	init_rwsem(&m->lock);
	INIT_DELAYED_WORK(&m->work, csvn_mapping_work);
	file = anon_inode_getfile("[csvn]", &csvn_mapping_file, m, O_RDWR);
	if (IS_ERR(file)) {
		kfree(m);
		return ERR_CAST(file);
	}
	address_space_init_once(&m->space);
	m->space.host = file_inode(file);
	m->space.a_ops = &empty_aops;
	file->f_mapping = &m->space;
	m->file = file;
	return m;
}

static unsigned long csvn_frame(const struct csvn_device *dev, const void *at)
{
	return (dev->window_start + ((const u8 *)at - dev->window)) >> PAGE_SHIFT;
}

/* SAFETY: csvn_end_map() has checked that all four extents are whole pages inside the circuit's arena. */
void csvn_mapping_set(struct csvn_mapping *m, const struct csvn_circuit *c)
{
	const struct csvn_end *e = &c->end;

	m->control[CSVN_MINE] = csvn_frame(c->dev, e->own);
	m->control[CSVN_THEIRS] = csvn_frame(c->dev, e->peer);
	m->ring[CSVN_MINE] = csvn_frame(c->dev, e->tx);
	m->ring[CSVN_THEIRS] = csvn_frame(c->dev, e->rx);
	m->pages = e->size >> PAGE_SHIFT;
}

/* The circuit's mapping, by its file, counted; or NULL. The lock of the socket whose circuit it is is held. */
struct file *csvn_mapping_get(struct csvn_circuit *c)
{
	return c->mapping ? get_file(c->mapping->file) : NULL;
}
