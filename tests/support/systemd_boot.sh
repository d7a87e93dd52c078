#!/bin/sh
# Makes a root of its own for a second systemd and becomes it: systemd_machine.py runs this, in namespaces of its own.
# Arguments: an empty folder for the root, the project to be found in /opt/traffic-router, the folder of its Python.
set -eu
room=$1 project=$2 python=$3
. "${0%/*}/boot_parts.sh"

mount --make-rprivate /
make_root "$room"

# What systemd could set for the whole machine can only be read.
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

make_devices
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 pts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"

put_project "$project" "$python"

mount -t tmpfs -o mode=755 run "$root/run"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 units "$root/etc/systemd/system"
mkdir -p "$root/run/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nAudit=no\n' > "$root/run/systemd/journald.conf.d/machine.conf"
# Not this test's: other services of the machine.
for unit in getty.target systemd-logind.service dbus.service dbus.socket systemd-udevd.service \
    systemd-journald-audit.socket; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done

mkdir "$root/run/old"
cd "$root"
pivot_root . run/old
umount -l run/old
rmdir run/old
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=multi-user.target < /dev/null
