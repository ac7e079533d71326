#!/bin/sh
# Boot a host: systemd as pid 1 of a container on an overlay, joined to us by a cable of its own.
# Runs in fresh mount, network and pid namespaces; all that it makes ends with them, except for
# the control groups. Use: boot-host.sh CALLER_PID NAME LINK ADDRESS/LEN PEER_ADDRESS/LEN TREE SEED
set -eu
outside=/proc/$1/ns/net name=$2 link=$3 address=$4 peer=$5 tree=$6 seed=$7

ip link add host0 type veth peer name "$link" netns "$outside"
nsenter --net="$outside" ip address add "$peer" dev "$link"
nsenter --net="$outside" ip link set "$link" up
ip address add "$address" dev host0
ip link set host0 up
ip link set lo up

# Control groups are the machine's: one of this host's own, or two hosts would share their units.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    test -e "$hierarchy/cgroup.procs" || continue
    mkdir -p "$hierarchy/$link"
    echo 0 >"$hierarchy/$link/cgroup.procs"
done

# The pids of this namespace, and a /run for what nspawn notes down, so that nothing stays behind.
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/upper /run/work /run/root
cp -a "$seed/." /run/upper/
mount -t overlay -o "lowerdir=$tree,upperdir=/run/upper,workdir=/run/work" overlay /run/root
exec systemd-nspawn --quiet --boot --directory=/run/root --machine="$name" --register=no \
    --keep-unit --network-namespace-path=/proc/self/ns/net --console=pipe </dev/null
