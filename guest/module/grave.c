// SPDX-License-Identifier: GPL-2.0
/*
 * A device that must not be started again, and a note of it that a reboot does not wipe out.
 *
 * Theory of operation. QEMU has no way back for a device of this kind whose back-end went away while it was started: it aborts when
 * the device is started once more (or its configuration space is read), and with it goes the guest. A driver can see nothing of that in the
 * device. So when the switch is lost, which device that was is written down where it lasts as long as the machine does, and not
 * longer: in the real-time clock's memory, which a reset leaves alone and a new machine begins without. A probe that finds the note
 * leaves the device alone. The note is torn up when the switch answers after all, and when the PCI device is
 * unplugged: what is plugged in afterwards is another one. The module's parameter ignore_grave=1 starts the device whatever the note says.
 *
 * The note is a magic, and the device's place on the PCI bus, in eight bytes that neither the firmware nor Linux uses.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mc146818rtc.h>
#include <linux/module.h>
#include <linux/pci.h>

#include "grave.h"

#define CSVN_GRAVE_AT 0x70 /* of the clock's 128 bytes */
#define CSVN_GRAVE_MAGIC "CSVN"

struct csvn_grave {
	char magic[4];
	__le16 place; /* bus << 8 | devfn */
	__le16 check; /* ~place */
};

static bool csvn_grave_ignored;
module_param_named(ignore_grave, csvn_grave_ignored, bool, 0644);
MODULE_PARM_DESC(ignore_grave, "start a device even if its switch was lost before the last reboot");

static DEFINE_MUTEX(csvn_grave_lock);

#if defined(CONFIG_X86)
static void csvn_grave_read(struct csvn_grave *g)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&rtc_lock, flags);
	for (i = 0; i < sizeof(*g); i++)
		((u8 *)g)[i] = CMOS_READ(CSVN_GRAVE_AT + i);
	spin_unlock_irqrestore(&rtc_lock, flags);
}

static void csvn_grave_write(const struct csvn_grave *g)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&rtc_lock, flags);
	for (i = 0; i < sizeof(*g); i++)
		CMOS_WRITE(((const u8 *)g)[i], CSVN_GRAVE_AT + i);
	spin_unlock_irqrestore(&rtc_lock, flags);
}
#else
static void csvn_grave_read(struct csvn_grave *g)
{
	memset(g, 0, sizeof(*g));
}

static void csvn_grave_write(const struct csvn_grave *g)
{
}
#endif

static u16 csvn_grave_place(const struct pci_dev *pci)
{
	return pci->bus->number << 8 | pci->devfn;
}

static struct pci_dev *csvn_grave_pci(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;

	return parent && dev_is_pci(parent) ? to_pci_dev(parent) : NULL;
}

static bool csvn_grave_of(const struct pci_dev *pci)
{
	struct csvn_grave g;
	u16 place;

	csvn_grave_read(&g);
	place = le16_to_cpu(g.place);
	return !memcmp(g.magic, CSVN_GRAVE_MAGIC, sizeof(g.magic)) && le16_to_cpu(g.check) == (u16)~place &&
	       place == csvn_grave_place(pci);
}

/* Must the device not be started? */
bool csvn_grave_find(struct virtio_device *vdev)
{
	struct pci_dev *pci = csvn_grave_pci(vdev);
	bool found;

	mutex_lock(&csvn_grave_lock);
	found = pci && !READ_ONCE(csvn_grave_ignored) && csvn_grave_of(pci);
	mutex_unlock(&csvn_grave_lock);
	return found;
}

/* The device's switch was lost. */
void csvn_grave_dig(struct virtio_device *vdev)
{
	struct pci_dev *pci = csvn_grave_pci(vdev);
	struct csvn_grave g = { .magic = CSVN_GRAVE_MAGIC };

	if (!pci)
		return;
	mutex_lock(&csvn_grave_lock);
	g.place = cpu_to_le16(csvn_grave_place(pci));
	g.check = cpu_to_le16(~csvn_grave_place(pci));
	csvn_grave_write(&g);
	mutex_unlock(&csvn_grave_lock);
}

static void csvn_grave_fill_pci(const struct pci_dev *pci)
{
	const struct csvn_grave none = {};

	mutex_lock(&csvn_grave_lock);
	if (csvn_grave_of(pci))
		csvn_grave_write(&none);
	mutex_unlock(&csvn_grave_lock);
}

/* It lives. */
void csvn_grave_fill(struct virtio_device *vdev)
{
	struct pci_dev *pci = csvn_grave_pci(vdev);

	if (pci)
		csvn_grave_fill_pci(pci);
}

static int csvn_grave_notified(struct notifier_block *nb, unsigned long action, void *data)
{
	if (action == BUS_NOTIFY_REMOVED_DEVICE)
		csvn_grave_fill_pci(to_pci_dev(data));
	return NOTIFY_DONE;
}

static struct notifier_block csvn_grave_notifier = { .notifier_call = csvn_grave_notified };

int csvn_grave_init(void)
{
	return bus_register_notifier(&pci_bus_type, &csvn_grave_notifier);
}

void csvn_grave_exit(void)
{
	bus_unregister_notifier(&pci_bus_type, &csvn_grave_notifier);
}
