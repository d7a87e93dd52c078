# What the roots that tests boot have in common; container_boot.sh and systemd_boot.sh read it.

# make_root ROOM: a root with the machine's files, all changes in memory, as $root; for proc and dev there are folders.
make_root() {
    mount -t tmpfs -o mode=755 room "$1"
    root=$1/root
    mkdir "$1/changes" "$1/work" "$root"
    mount -t overlay -o "lowerdir=/,upperdir=$1/changes,workdir=$1/work" root "$root"
}

# make_devices: the few that every program needs, in a /dev of its own.
make_devices() {
    mount -t tmpfs -o mode=755 dev "$root/dev"
    for name in null zero full random urandom tty; do
        touch "$root/dev/$name"
        mount --bind "/dev/$name" "$root/dev/$name"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm"
}

# put_project PROJECT VENV: as /opt/traffic-router, with its Python, which whoever runs it must be able to reach.
put_project() {
    mkdir -p "$root/opt/traffic-router"
    mount --bind "$1" "$root/opt/traffic-router"
    mount --bind "$2" "$root/opt/traffic-router/.venv"
    folder=$(dirname "$(readlink -f "$2/bin/python")")
    while [ "$folder" != / ]; do
        chmod o+x "$root$folder"
        folder=$(dirname "$folder")
    done
}
