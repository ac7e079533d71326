"""A network of a test's own: a thread that lives in a fresh network namespace (Linux, root)."""

import ctypes
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

#: From sched.h.
CLONE_NEWNET = 0x40000000


def in_own_network(function, *setup):
    """Call `function` in a new network namespace, after `ip <words>` for each text of `setup`.

    Programs that it starts live there too. Raises PermissionError without CAP_SYS_ADMIN.
    """

    def work():
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        for words in setup:
            subprocess.run(["ip", *words.split()], check=True, env={"PATH": "/usr/sbin:/sbin"})
        return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()
