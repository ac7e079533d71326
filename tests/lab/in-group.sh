#!/bin/sh
# Run a program in control groups of its own, which list its processes whatever becomes of it.
# Use: in-group.sh NAME PROGRAM ARGUMENT...
set -eu
name=$1
shift
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    test -e "$hierarchy/cgroup.procs" || continue
    mkdir -p "$hierarchy/$name"
    echo 0 >"$hierarchy/$name/cgroup.procs"
done
exec "$@"
