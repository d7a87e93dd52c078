#!/bin/sh
# Makes a root like a container's and becomes its first process: container.py runs this, in namespaces of its own.
# Arguments: an empty folder for the root, the image's files for /opt/traffic-router, the .venv to be in there, the
# directory that is its volume, the user's number; then the command and its environment, as env takes them.
set -eu
room=$1 project=$2 venv=$3 volume=$4 user=$5
shift 5

mount --make-rprivate /
ip link set lo up
mount -t tmpfs -o mode=755 room "$room"
root=$room/root
mkdir "$room/changes" "$room/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$room/changes,workdir=$room/work" root "$root"

mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm"

echo "router:x:$user:$user::$volume:/usr/sbin/nologin" >> "$root/etc/passwd"
mkdir -p "$root/opt/traffic-router" "$root$volume"
mount --bind "$project" "$root/opt/traffic-router"
mount --bind "$venv" "$root/opt/traffic-router/.venv"
# The Python of the environment must be one that the user can reach.
folder=$(dirname "$(readlink -f "$venv/bin/python")")
while [ "$folder" != / ]; do
    chmod o+x "$root$folder"
    folder=$(dirname "$folder")
done

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
