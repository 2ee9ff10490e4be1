#!/bin/sh
# Second program of a guest, on its real root: what an init system would do,
# in as few steps as possible, then the agent takes over as process 1.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
B=/usr/bin/busybox
[ -x $B ] || B=/bin/busybox

log() {
	echo "csvn-init: $*" >/dev/kmsg
}

# Value of a parameter of the kernel's command line, %OOO (octal) decoded.
parameter() {
	for word in $cmdline; do
		case $word in
		csvn."$1"=*)
			printf '%b' "$(echo "${word#*=}" | $B sed 's/%/\\0/g')"
			return
			;;
		esac
	done
}

read -r cmdline </proc/cmdline

mkdir -p /dev/pts /dev/shm
$B mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
$B mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
$B mount -t tmpfs -o mode=755,nosuid,nodev run /run
$B mount -t tmpfs -o mode=1777,nosuid,nodev tmp /tmp
$B mount -t cgroup2 cgroup2 /sys/fs/cgroup
$B mount -t bpf bpf /sys/fs/bpf 2>/dev/null
$B ln -sf /proc/self/fd /dev/fd
$B ln -sf /proc/self/fd/0 /dev/stdin
$B ln -sf /proc/self/fd/1 /dev/stdout
$B ln -sf /proc/self/fd/2 /dev/stderr
$B mkdir -p /run/lock /run/redis /run/nginx
$B ip link set lo up

name=$(parameter hostname)
if [ -e /usr/lib/csvn/csvn.ko ] && [ "$(parameter module)" != 0 ]; then
	# Word splitting is wanted: each word is one of the module's parameters.
	# shellcheck disable=SC2046
	if $B insmod /usr/lib/csvn/csvn.ko $(parameter modargs); then
		bound=
		for driver in /sys/bus/virtio/devices/*/driver/module; do
			case $($B readlink "$driver") in
			*/csvn) bound=1 ;;
			esac
		done
		tries=0
		while [ -n "$bound" ] && [ ! -e /sys/class/net/csvn0 ]; do
			tries=$((tries + 1))
			if [ $tries -gt 200 ]; then
				log "the module is bound, but no csvn0 came up in 10 s"
				break
			fi
			$B usleep 50000
		done
	else
		log "csvn.ko was refused"
	fi
fi
if [ -r /sys/class/net/csvn0/csvn/vm_name ]; then
	read -r told </sys/class/net/csvn0/csvn/vm_name
	name=${told:-$name}
fi
name=${name:-guest}
echo "$name" >/proc/sys/kernel/hostname
echo "$name" >/etc/hostname

# The guest's own name leads to its address on the switch, if it has one.
own=127.0.1.1
set -- $($B ip -4 -o addr show dev csvn0 2>/dev/null)
while [ $# -gt 1 ]; do
	[ "$1" = inet ] && own=${2%/*}
	shift
done
printf '%s\n' "127.0.0.1 localhost" "::1 localhost ip6-localhost" \
	"$own $name" >/etc/hosts

# The switch answers names on the gateway's address.
set -- $($B ip -4 route show default 2>/dev/null)
gateway=
while [ $# -gt 1 ]; do
	[ "$1" = via ] && gateway=$2
	shift
done
$B rm -f /etc/resolv.conf
if [ -n "$gateway" ]; then
	echo "nameserver $gateway" >/etc/resolv.conf
else
	: >/etc/resolv.conf
fi

case $(parameter copy) in
1) $B mount -t ext4 -o noatime /dev/vdb /mnt && $B rmdir /mnt/lost+found ;;
keep) $B mount -t ext4 -o noatime /dev/vdb /mnt ;; # has one of its own
esac

log "ready"
exec /usr/lib/csvn/agent
