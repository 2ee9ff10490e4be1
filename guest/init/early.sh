#!/bin/busybox sh
# First program of a guest, from the initramfs: finds the root file system,
# puts a throw-away layer over it, and hands over to init.sh.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /lower /upper /root
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev

while read -r module; do
	$B insmod "$module"
done </load

# The disk shows up a moment after its driver.
tries=0
while [ ! -b /dev/vda ]; do
	tries=$((tries + 1))
	if [ $tries -gt 100 ]; then
		echo "csvn: no /dev/vda" >/dev/console
		exit 1 # the kernel panics, and the host sees it
	fi
	$B usleep 50000
done

set -e
$B mount -t ext4 -o ro /dev/vda /lower
$B mount -t tmpfs -o mode=755,size=80% upper /upper
$B mkdir -p /upper/up/usr/lib/modules /upper/work
$B mv /csvn /upper/up/usr/lib/csvn
$B mv /lib/modules/* /upper/up/usr/lib/modules/
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work overlay /root
for dir in proc sys dev; do
	$B mount -o move /$dir /root/$dir
done
exec $B switch_root /root /usr/lib/csvn/init
