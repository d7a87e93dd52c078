#!/bin/sh
# Makes a root like a container's and becomes its first process: container.py runs this, in namespaces of its own.
# Arguments: an empty folder for the root, the image's files for /opt/traffic-router, the .venv to be in there, the
# directory that is its volume, the user's number; then the command and its environment, as env takes them.
set -eu
room=$1 project=$2 venv=$3 volume=$4 user=$5
shift 5
. "${0%/*}/boot_parts.sh"

mount --make-rprivate /
ip link set lo up
make_root "$room"

mount -t proc proc "$root/proc"
make_devices

echo "router:x:$user:$user::$volume:/usr/sbin/nologin" >> "$root/etc/passwd"
mkdir -p "$root$volume"
put_project "$project" "$venv"

# Nothing can be written from here on, but in three places.
for place in "$root/opt/traffic-router/.venv" "$root/opt/traffic-router" "$root/dev"; do
    mount -o remount,bind,ro "$place"
done
mount -t tmpfs -o "mode=750,uid=$user,gid=$user" volume "$root$volume"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -o remount,ro "$root"

exec chroot "$root" setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --bounding-set=-all \
    env -i --chdir=/opt/traffic-router PATH=/usr/local/bin:/usr/bin:/bin "$@" < /dev/null
