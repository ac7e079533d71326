import json
import subprocess
import sys

import pytest

from workers.capture import find_capabilities, has_net_admin

ASK = (
    "import json; from workers.capture import find_capabilities; "
    "print(json.dumps(find_capabilities()))"
)


@pytest.mark.parametrize(
    ("effective", "held"),
    [
        ("0000000000000000", False),
        ("0000000000001000", True),
        ("0000000000002000", False),
        ("0000000000003000", True),
        ("00000000a80425fb", False),  # what a container gets: net_raw without net_admin
        ("000001ffffffffff", True),
    ],
)
def test_net_admin_is_bit_12_of_the_effective_set(effective, held):
    status = f"Name:\tpython\nCapInh:\tffffffffffffffff\nCapEff:\t{effective}\nCapBnd:\t0\n"
    assert has_net_admin(status) is held


def test_a_status_without_capabilities_offers_none():
    assert has_net_admin("Name:\tpython\n") is False


@pytest.mark.root
@pytest.mark.parametrize(
    ("kept", "offered"),
    [
        ("+net_raw,+net_admin", ["net_raw", "net_admin"]),
        ("+net_raw", ["net_raw"]),
        ("-all", []),
    ],
)
def test_only_what_the_process_kept_is_offered(require_program, kept, offered):
    if "net_admin" not in find_capabilities():
        pytest.skip("needs CAP_NET_ADMIN to give away")
    only = kept if kept == "-all" else f"-all,{kept}"
    argv = [require_program("setpriv"), "--inh-caps", only, "--bounding-set", only]
    done = subprocess.run(
        [*argv, sys.executable, "-c", ASK], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == offered
