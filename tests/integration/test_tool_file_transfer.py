"""file-transfer against real hosts: what arrives, what is left alone, what is said of failures."""

import hashlib
import random
import threading
from dataclasses import replace

import pytest

from app.errors import StepError, Stopped
from app.step import Secret, State
from tasks.operations.automation import files
from tasks.runners.sftp import RemoteFiles
from tasks.runners.ssh import SshRunner
from tests.lab.operation import Surroundings, checked
from tests.lab.real_farm import RealFarm, Servers
from tests.lab.root_tree import PASSWORD
from tests.lab.sshd import SFTP, start_sshd
from tool_catalog.model import Reason

SUDO = {"method": "sudo", "user": "root"}
#: More than a block, and no multiple of one.
LARGE = random.Random(4711).randbytes(3 * 1024 * 1024 + 17)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    runner = SshRunner(tmp_path_factory.mktemp("scratch"))
    yield runner
    runner.close()


@pytest.fixture
def folder(systemd_host):
    """A folder of the host that belongs to `ops`, as its host sees it; empty."""
    path = "/home/ops/planted"
    systemd_host.run("install", "--directory", "--owner=ops", "--group=ops", path)
    yield path
    systemd_host.run("rm", "--recursive", "--force", path)


class Hand:
    """Calls the operations for one login on one host."""

    def __init__(self, host, runner, credential, state_dir, **members):
        settings = {"state_dir": state_dir}
        self.around = Surroundings(
            settings, target=host.target, credential=credential, runner=runner, **members
        )

    def __call__(self, operation, **given):
        parameters = checked("automation/file-transfer", given, operation)
        self.context = self.around.context()
        return getattr(files, operation)(parameters, self.context)

    def refused(self, operation, **given):
        """The error that it raises."""
        with pytest.raises(StepError) as info:
            self(operation, **given)
        return info.value


@pytest.fixture
def hand(systemd_host, runner, tmp_path):
    """`hand("get", path=...)` as `ops`; `hand.around` is what surrounds the step."""
    return Hand(systemd_host, runner, systemd_host.credential("ops"), tmp_path)


@pytest.fixture
def root_hand(systemd_host, runner, tmp_path):
    """As `deploy`, who becomes root."""
    login = systemd_host.credential("deploy", become=SUDO)
    return Hand(systemd_host, runner, login, tmp_path, user="root")


@pytest.fixture
def local_hand(sshd, runner, tmp_path):
    """Over the sshd on loopback, whose connections can be cut."""
    return Hand(sshd, runner, sshd.credential, tmp_path / "state")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def names(host, folder):
    return sorted(path.name for path in host.path(folder).iterdir())


def kept(hand):
    [data] = hand.around.kept.values()
    return data


def assert_says(error, reason, words):
    assert error.reason is reason
    assert words in error.message


# get


@pytest.mark.proves("file-transfer", "get")
@pytest.mark.parametrize("data", [LARGE, b"", b"planted\n"], ids=["large", "empty", "small"])
def test_a_planted_file_arrives_whole(hand, systemd_host, folder, data):
    systemd_host.path(f"{folder}/a file with ünïcode").write_bytes(data)
    result = hand("get", path=f"{folder}/a file with ünïcode")
    assert kept(hand) == data
    assert list(hand.around.kept) == ["a file with ünïcode"]
    assert result.output["sha256"] == sha256(data)
    assert result.output["size_bytes"] == len(data)
    assert result.output["artifact"] == result.artifacts[0].id
    assert (result.output["mode"], result.output["uid"]) == ("0644", 0)


def test_what_has_no_size_of_its_own_arrives(hand):
    result = hand("get", path="/proc/sys/kernel/ostype")
    assert kept(hand) == b"Linux\n"
    assert result.output["size_bytes"] == 6


def test_a_link_is_followed(hand, systemd_host, folder):
    systemd_host.path(f"{folder}/real").write_text("planted")
    systemd_host.run("ln", "-s", "real", f"{folder}/link")
    hand("get", path=f"{folder}/link")
    assert kept(hand) == b"planted"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        ("true", (Reason.NOT_FOUND, "/here does not exist on lab-01")),
        ("ln -s gone here", (Reason.NOT_FOUND, "/here is a link to gone, which does not exist")),
        ("mkdir here", (Reason.INVALID_PARAMETER, "/here on lab-01 is no plain file (directory)")),
        ("mkfifo here", (Reason.INVALID_PARAMETER, "/here on lab-01 is no plain file (other)")),
        ("seq 5 >here", (Reason.INVALID_PARAMETER, "/here has more than the 9 bytes of max_bytes")),
        ("seq 4 >here; chmod 600 here", (Reason.NO_PRIVILEGE, "cannot read")),
    ],
)
def test_what_cannot_be_fetched_is_told(hand, systemd_host, folder, make, expected):
    systemd_host.run("sh", "-c", f"cd {folder} && {make}")
    error = hand.refused("get", path=f"{folder}/here", max_bytes=9)
    assert_says(error, *expected)
    assert hand.around.kept == {}


def test_another_content_than_the_wanted_is_not_kept(hand, systemd_host, folder):
    systemd_host.path(f"{folder}/here").write_text("planted")
    error = hand.refused("get", path=f"{folder}/here", sha256=sha256(b"wanted"))
    assert error.reason is Reason.NOT_VERIFIED
    assert hand.around.kept == {}
    hand("get", path=f"{folder}/here", sha256=sha256(b"planted"))
    assert kept(hand) == b"planted"


def test_a_file_that_changes_meanwhile_is_not_kept(hand, systemd_host, folder, monkeypatch):
    path = f"{folder}/log"
    systemd_host.path(path).write_text("first\n")
    read = RemoteFiles.read

    def read_and_write(self, *given):
        copied = read(self, *given)
        systemd_host.path(path).write_text("other\n")
        return copied

    monkeypatch.setattr(RemoteFiles, "read", read_and_write)
    error = hand.refused("get", path=path)
    assert error.reason is Reason.NOT_VERIFIED
    assert error.transient
    assert hand.around.kept == {}


def test_nothing_is_left_on_our_side(hand, systemd_host, folder, tmp_path):
    systemd_host.path(f"{folder}/here").write_text("planted")
    hand("get", path=f"{folder}/here")
    hand.refused("get", path=f"{folder}/gone")
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == []


def test_root_reads_what_nobody_else_may(root_hand):
    root_hand("get", path="/etc/shadow")
    assert kept(root_hand).startswith(b"root:")


def test_sudo_is_told_its_password(systemd_host, runner, tmp_path):
    for password, expected in ((PASSWORD, None), ("wrong", Reason.NO_PRIVILEGE)):
        login = systemd_host.credential("ops", become=SUDO, become_password=Secret(password))
        hand = Hand(systemd_host, runner, login, tmp_path, user="root")
        if expected is None:
            hand("get", path="/etc/shadow")
            assert kept(hand).startswith(b"root:")
        else:
            error = hand.refused("get", path="/etc/shadow")
            assert error.reason is expected
            assert "cannot become root on lab-01" in error.message
            assert password not in error.message


def test_somebody_without_sudo_becomes_nobody(systemd_host, runner, tmp_path):
    login = systemd_host.credential("guest", become=SUDO, become_password=Secret(PASSWORD))
    hand = Hand(systemd_host, runner, login, tmp_path, user="root")
    error = hand.refused("get", path="/etc/shadow")
    assert error.reason is Reason.NO_PRIVILEGE
    assert "guest is not in the sudoers file" in error.message


# put


@pytest.mark.proves("file-transfer", "put")
def test_a_text_is_written_and_the_second_time_nothing_changes(hand, systemd_host, folder):
    given = {"path": f"{folder}/new", "content": "plänted\n"}
    first = hand("put", **given)
    assert systemd_host.path(f"{folder}/new").read_text() == "plänted\n"
    assert (first.state, first.changed) == (State.SUCCEEDED, True)
    assert first.output["sha256"] == sha256("plänted\n".encode())
    assert (first.output["mode"], first.output["replaced"]) == ("0644", False)
    assert hand.around.armed == 1
    inode = systemd_host.path(f"{folder}/new").stat().st_ino
    second = hand("put", **given)
    assert second.changed is False
    assert systemd_host.path(f"{folder}/new").stat().st_ino == inode
    assert hand.around.armed == 1
    assert names(systemd_host, folder) == ["new"]


def test_an_artifact_is_written(hand, systemd_host, folder, tmp_path):
    artifact = tmp_path / "artifact"
    artifact.write_bytes(LARGE)
    number = "0190a5d2-0000-4000-8000-00000000cafe"
    hand.around.artifacts[number] = artifact
    result = hand("put", path=f"{folder}/large", artifact={"$artifact": number})
    assert systemd_host.path(f"{folder}/large").read_bytes() == LARGE
    assert result.output["size_bytes"] == len(LARGE)
    error = hand.refused("put", path=f"{folder}/x", artifact={"$artifact": number[:-1] + "0"})
    assert error.reason is Reason.NOT_FOUND


def test_an_empty_file_is_written(hand, systemd_host, folder):
    hand("put", path=f"{folder}/empty", content="")
    assert systemd_host.path(f"{folder}/empty").read_bytes() == b""


def test_another_content_stays_unless_it_may_be_replaced(hand, systemd_host, folder):
    place = systemd_host.path(f"{folder}/kept")
    hand("put", path=f"{folder}/kept", content="first", mode="0600")
    inode = place.stat().st_ino
    error = hand.refused("put", path=f"{folder}/kept", content="other")
    assert error.reason is Reason.CONFLICT
    assert "say overwrite: true" in error.message
    assert place.read_text() == "first"
    result = hand("put", path=f"{folder}/kept", content="other", overwrite=True)
    assert (result.changed, result.output["replaced"]) == (True, True)
    assert place.read_text() == "other"
    assert result.output["mode"] == "0600"
    assert place.stat().st_ino != inode
    assert names(systemd_host, folder) == ["kept"]


def test_mode_and_owner_are_as_asked_for(root_hand, systemd_host, folder):
    given = {"path": f"{folder}/conf", "content": "x", "owner": "guest", "group": "adm"}
    result = root_hand("put", mode="640", **given)
    owner = systemd_host.run("stat", "--format=%U:%G %a", f"{folder}/conf")
    assert owner == "guest:adm 640\n"
    assert result.output["mode"] == "0640"
    again = root_hand("put", mode="0640", **given)
    assert again.changed is False


def test_a_replaced_file_keeps_its_owner(root_hand, systemd_host, folder):
    systemd_host.run("install", "--owner=guest", "--mode=4750", "/dev/null", f"{folder}/conf")
    root_hand("put", path=f"{folder}/conf", content="x", overwrite=True)
    owner = systemd_host.run("stat", "--format=%U %a", f"{folder}/conf")
    assert owner == "guest 750\n"


def test_only_the_mode_is_set_where_the_content_is_there(hand, systemd_host, folder):
    hand("put", path=f"{folder}/conf", content="x")
    inode = systemd_host.path(f"{folder}/conf").stat().st_ino
    result = hand("put", path=f"{folder}/conf", content="x", mode="0600")
    assert (result.changed, result.output["mode"]) == (True, "0600")
    assert systemd_host.path(f"{folder}/conf").stat().st_ino == inode
    assert hand.around.armed == 2


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        ("true", (Reason.NOT_FOUND, "/sub does not exist on lab-01; make it first")),
        ("touch sub", (Reason.INVALID_PARAMETER, "/sub on lab-01 is no folder")),
        ("mkdir -p sub/here", (Reason.INVALID_PARAMETER, "/here on lab-01 is a folder")),
        ("mkdir sub; ln -s /etc/passwd sub/here", (Reason.CONFLICT, "is a link to /etc/passwd")),
        ("mkdir sub; mkfifo sub/here", (Reason.CONFLICT, "/here on lab-01 is no plain file")),
        ("mkdir sub", (Reason.NO_PRIVILEGE, "/sub/here on lab-01: the login may not")),
    ],
)
def test_what_cannot_be_written_is_told(hand, systemd_host, folder, make, expected):
    systemd_host.run("sh", "-c", f"cd {folder} && {make}")
    error = hand.refused("put", path=f"{folder}/sub/here", content="x", overwrite=True)
    assert_says(error, *expected)
    assert hand.around.armed == 0


def test_who_may_not_give_files_away_is_told(hand, systemd_host, folder):
    error = hand.refused("put", path=f"{folder}/conf", content="x", owner="root")
    assert error.reason is Reason.NO_PRIVILEGE
    assert f"cannot change the owner of {folder}/conf on lab-01" in error.message
    assert names(systemd_host, folder) == []


def test_an_unknown_owner_is_told(root_hand, systemd_host, folder):
    error = root_hand.refused("put", path=f"{folder}/conf", content="x", group="nobody-here")
    assert error.reason is Reason.NOT_FOUND
    assert "lab-01 knows no group nobody-here" in error.message


def test_a_full_disk_is_told_and_left_as_it_was(hand, systemd_host, folder, tmp_path):
    systemd_host.run("mount", "-t", "tmpfs", "-o", "size=64k,uid=1000", "tmpfs", folder)
    try:
        artifact = tmp_path / "artifact"
        artifact.write_bytes(LARGE)
        number = "0190a5d2-0000-4000-8000-00000000cafe"
        hand.around.artifacts[number] = artifact
        error = hand.refused("put", path=f"{folder}/large", artifact={"$artifact": number})
        assert error.reason is Reason.REFUSED_BY_DEVICE
        assert "is its disk full" in error.message
        assert names(systemd_host, folder) == []
    finally:
        systemd_host.run("umount", folder)


def test_a_source_that_is_not_the_wanted_one_is_not_sent(hand, systemd_host, folder):
    error = hand.refused("put", path=f"{folder}/x", content="x", sha256=sha256(b"y"))
    assert error.reason is Reason.CHECK_FAILED
    error = hand.refused("put", path=f"{folder}/x", content="xxx", max_bytes=2)
    assert error.reason is Reason.INVALID_PARAMETER
    assert names(systemd_host, folder) == []


def test_a_step_that_must_not_act_leaves_the_file_alone(hand, systemd_host, folder):
    def refuse():
        raise Stopped("stopped before it began", verified=True)

    hand("put", path=f"{folder}/kept", content="first")
    hand.around.before_effect = refuse
    hand.refused("put", path=f"{folder}/kept", content="other", overwrite=True)
    hand.refused("put", path=f"{folder}/kept", content="first", mode="0600")
    assert systemd_host.path(f"{folder}/kept").read_text() == "first"
    assert systemd_host.run("stat", "--format=%a", f"{folder}/kept") == "644\n"
    assert names(systemd_host, folder) == ["kept"]


def test_who_comes_first_is_not_overwritten(hand, systemd_host, folder):
    """The place was free when we looked, and is not when we move the file there."""
    place = systemd_host.path(f"{folder}/taken")
    hand.around.before_effect = lambda: place.write_text("theirs")
    error = hand.refused("put", path=f"{folder}/taken", content="ours")
    assert error.reason is Reason.CONFLICT
    assert place.read_text() == "theirs"
    assert names(systemd_host, folder) == ["taken"]


def test_what_lost_attempts_left_is_removed(hand, systemd_host, folder):
    hand.around.attempt = 3
    stem = f"{folder}/.opsfarm-{hand.around.context().step.execution_id.hex}-42"
    for path in (f"{stem}-1", f"{stem}-2"):
        systemd_host.path(path).write_text("half")
        systemd_host.run("chown", "ops", path)
    hand("put", path=f"{folder}/whole", content="whole")
    assert names(systemd_host, folder) == ["whole"]


def test_nobody_ever_sees_half_a_file(hand, systemd_host, folder, tmp_path):
    whole = {sha256(LARGE), sha256(LARGE[::-1])}
    ids = ["0190a5d2-0000-4000-8000-00000000000a", "0190a5d2-0000-4000-8000-00000000000b"]
    for number, data in zip(ids, (LARGE, LARGE[::-1]), strict=True):
        hand.around.artifacts[number] = tmp_path / number
        (tmp_path / number).write_bytes(data)
    path = f"{folder}/large"
    hand("put", path=path, artifact={"$artifact": ids[1]})
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(sha256(systemd_host.path(path).read_bytes()))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(6):
            hand("put", path=path, artifact={"$artifact": ids[turn % 2]}, overwrite=True)
    finally:
        done.set()
        reader.join()
    assert seen == whole


# stat


@pytest.mark.proves("file-transfer", "stat")
@pytest.mark.parametrize(
    ("make", "expected"),
    [
        ("printf planted >here", {"kind": "file", "size_bytes": 7, "sha256": sha256(b"planted")}),
        ("mkdir --mode=751 here", {"kind": "directory", "mode": "0751", "uid": 0}),
        ("ln -s over/there here", {"kind": "link", "link_target": "over/there"}),
        ("mkfifo here", {"kind": "other"}),
        ("true", {"kind": "none"}),
    ],
)
def test_what_lies_there_is_told(hand, systemd_host, folder, make, expected):
    systemd_host.run("sh", "-c", f"cd {folder} && {make}")
    output = hand("stat", path=f"{folder}/here").output
    assert {name: output[name] for name in expected} == expected
    assert ("sha256" in output) == ("sha256" in expected)


def test_a_long_file_has_no_checksum(hand, systemd_host, folder):
    systemd_host.path(f"{folder}/long").write_text("long")
    assert "sha256" not in hand("stat", path=f"{folder}/long", max_bytes=3).output


# connections


def test_connections_are_kept(local_hand, sshd, tmp_path):
    before = sshd.connections()
    for number in range(3):
        local_hand("put", path=f"{tmp_path}/{number}", content="x")
    assert sshd.connections() - before <= 1


def test_a_lost_connection_before_the_effect_changed_nothing(
    local_hand, sshd, tmp_path, monkeypatch
):
    (tmp_path / "kept").write_text("first")
    write = RemoteFiles.write

    def write_and_die(self, *given):
        copied = write(self, *given)
        sshd.cut_connections()
        return copied

    monkeypatch.setattr(RemoteFiles, "write", write_and_die)
    error = local_hand.refused("put", path=f"{tmp_path}/kept", content="other", overwrite=True)
    assert (error.reason, error.transient, error.sent) == (Reason.UNREACHABLE, True, False)
    assert (tmp_path / "kept").read_text() == "first"


def test_a_lost_connection_at_the_effect_leaves_it_unknown(local_hand, sshd, tmp_path):
    local_hand.around.before_effect = sshd.cut_connections
    error = local_hand.refused("put", path=f"{tmp_path}/new", content="x")
    assert (error.reason, error.sent) == (Reason.UNREACHABLE, True)
    local_hand.around.before_effect = lambda: None
    local_hand.around.attempt = 2
    assert local_hand("put", path=f"{tmp_path}/new", content="x").changed is True
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["new"]


def test_a_cancel_ends_it_between_two_blocks(local_hand, tmp_path):
    (tmp_path / "large").write_bytes(LARGE)

    class AfterSome:
        looks = 0

        def is_set(self):
            self.looks += 1
            return self.looks > 4

    parameters = checked("automation/file-transfer", {"path": f"{tmp_path}/large"}, "get")
    context = local_hand.around.context()
    context.control.cancelled = AfterSome()
    with pytest.raises(Stopped, match="stopped while the file was copied"):
        files.get(parameters, context)


def test_its_time_is_kept(local_hand, tmp_path):
    (tmp_path / "large").write_bytes(LARGE)
    local_hand.around.timeout_s = 0.0
    error = local_hand.refused("get", path=f"{tmp_path}/large")
    assert error.reason is Reason.TIMEOUT
    assert "give the step a longer timeout_s" in error.message


def test_a_login_for_files_alone_will_do(runner, require_program, tmp_path):
    """It runs no sha256sum: what was written is read back instead."""
    extra = f"{SFTP}\nForceCommand internal-sftp"
    server = start_sshd(tmp_path / "sshd", require_program("sshd"), extra)
    try:
        hand = Hand(server, runner, server.credential, tmp_path)
        hand("put", path=f"{tmp_path}/new", content="planted")
        hand("get", path=f"{tmp_path}/new")
        assert kept(hand) == b"planted"
        error = hand.refused("put", path=f"{tmp_path}/x", content="x", owner="nobody")
        assert error.reason is Reason.NOT_FOUND
    finally:
        server.stop()


def test_a_host_that_serves_no_files_is_told(runner, require_program, tmp_path):
    server = start_sshd(tmp_path / "sshd", require_program("sshd"), extra="")
    try:
        hand = Hand(server, runner, server.credential, tmp_path)
        error = hand.refused("stat", path="/etc/passwd")
        assert error.reason is Reason.MISSING_PROGRAM
        assert "Subsystem sftp" in error.message
    finally:
        server.stop()


def test_who_cannot_log_in_is_told(systemd_host, runner, tmp_path):
    login = systemd_host.credential("nobody-here")
    error = Hand(systemd_host, runner, login, tmp_path).refused("stat", path="/etc/passwd")
    assert error.reason is Reason.AUTH_FAILED
    error = Hand(systemd_host, runner, None, tmp_path).refused("stat", path="/etc/passwd")
    assert error.reason is Reason.AUTH_FAILED
    wrong = replace(systemd_host.credential(), private_key=None, password=Secret("wrong"))
    error = Hand(systemd_host, runner, wrong, tmp_path).refused("stat", path="/etc/passwd")
    assert error.reason is Reason.AUTH_FAILED


def test_a_target_without_ssh_is_refused(tmp_path):
    around = Surroundings({"state_dir": tmp_path}, runner=object())
    with pytest.raises(StepError, match="files go over SSH only"):
        files.stat({"path": "/etc/passwd", "max_bytes": 1}, around.context())


# a plan


CARRY = """
steps:
  - tool: file-transfer
    operation: get
    id: fetched
    targets: from-01
    parameters: {path: /etc/planted}
  - tool: file-transfer
    operation: put
    targets: [to-01, to-02]
    run_as: root
    parameters:
      path: /etc/planted
      artifact: {$artifact: "{{ steps.fetched.output.artifact }}"}
      mode: '0600'
"""


@pytest.mark.slow
def test_a_plan_carries_a_file_from_host_to_host(make_systemd_hosts, server_folder):
    [source] = make_systemd_hosts(1, "from")
    places = make_systemd_hosts(2, "to")
    source.path("/etc/planted").write_bytes(LARGE)
    processes = ("api", "dispatcher", "asset", "automation")
    with (
        Servers(server_folder / "carry") as servers,
        RealFarm(servers, server_folder / "carry-farm", *processes) as farm,
    ):
        farm.enter(source.target, source.credential("guest"))
        for place in places:
            farm.enter(place.target, place.credential("deploy", become=SUDO))
        for changed in (True, False):
            answer = farm.call(
                "POST",
                "/execute-plan?wait=30",
                data=CARRY,
                headers={"Content-Type": "application/yaml"},
            ).json()
            execution = farm.call("GET", f"/executions/{answer['execution_id']}").json()
            assert execution["state"] == "succeeded", execution
            rows = execution["steps"][1]["results"]
            assert [row["changed"] for row in rows] == [changed, changed]
            for place in places:
                assert place.path("/etc/planted").read_bytes() == LARGE
                assert place.run("stat", "--format=%U %a", "/etc/planted") == "root 600\n"
