#!/bin/sh
# Boot a host: systemd as pid 1 of a container on an overlay, joined to us by a cable of its own.
# Runs in mount, network and pid namespaces of its own, and all that it makes ends with them.
# Use: boot-host.sh CALLER_PID NAME LINK ADDRESS/LEN PEER_ADDRESS/LEN TREE SEED
set -eu
outside=/proc/$1/ns/net name=$2 link=$3 address=$4 peer=$5 tree=$6 seed=$7

ip link add host0 type veth peer name "$link" netns "$outside"
nsenter --net="$outside" ip address add "$peer" dev "$link"
nsenter --net="$outside" ip link set "$link" up
ip address add "$address" dev host0
ip link set host0 up
ip link set lo up

# The pids of this namespace, a disk, and a /run for what nspawn notes down.
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp -a "$seed/." /mnt/upper/
mount -t overlay -o "lowerdir=$tree,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
mount -t tmpfs -o mode=0755 tmpfs /run
exec systemd-nspawn --quiet --boot --directory=/mnt/root --machine="$name" --register=no \
    --keep-unit --network-namespace-path=/proc/self/ns/net --console=pipe </dev/null
