"""A farm of real processes takes tool files in while it runs, or keeps what it had."""

import json
import signal

import pytest

from app.principal import Role
from tests.lab.real_farm import RealFarm, Servers
from tests.lab.waiting import wait_until

TOOL = """\
summary: Says a word
operations:
  say:
    summary: Says it
    effect: read
    at: worker
    argv: [echo, {word}]
    examples: [{{parameters: {{}}}}]
"""
PROCESSES = ("api", "dispatcher", "automation")


@pytest.fixture(scope="module")
def servers(server_folder):
    with Servers(server_folder / "reload") as servers:
        yield servers


@pytest.fixture
def farm(servers, server_folder, tmp_path):
    """A farm that reads the tools of a folder of the test's own."""
    own = tmp_path / "own"
    own.mkdir()
    settings = {"OPSFARM_TOOL_PATH": str(own)}
    with RealFarm(servers, tmp_path / "farm", *PROCESSES, settings=settings) as farm:
        farm.own = own
        yield farm


def reload(farm, **options):
    """Its exit status, what it printed and said."""
    process = farm.opsfarm("tools", "reload", *options.pop("argv", ()), role=Role.ADMIN, **options)
    out, said = process.communicate(timeout=30)
    return process.returncode, out, said


def say(farm):
    """What the tool says in a step of its own."""
    plan = {"steps": [{"tool": "parrot"}]}
    answer = farm.call("POST", "/execute-plan?wait=30", json=plan)
    if answer.status_code == 422:
        return answer.json()["faults"][0]["code"]
    [row] = answer.json()["steps"]
    return (row["output"] or "").strip()


def until_it_says(farm, word):
    """The worker has taken it in, a moment after the process that was asked."""
    wait_until(lambda: say(farm) == word, farm.logs)


def test_tools_come_change_and_go_while_the_farm_runs(farm):
    assert say(farm) == "unknown_tool"
    path = farm.own / "parrot.yaml"
    path.write_text(TOOL.format(word="hello"))
    status, out, _ = reload(farm)
    assert (status, "added: parrot" in out) == (0, True)
    until_it_says(farm, "hello")

    path.write_text(TOOL.format(word="goodbye"))
    status, out, _ = reload(farm, argv=("--json",))
    assert (status, json.loads(out)["changed"]) == (0, ["parrot"])
    until_it_says(farm, "goodbye")

    path.unlink()
    status, out, _ = reload(farm)
    assert (status, "removed: parrot" in out) == (0, True)
    assert say(farm) == "unknown_tool"
    status, out, _ = reload(farm)
    assert (status, "nothing was changed" in out) == (0, True)


def test_a_bad_file_is_named_and_changes_nothing(farm):
    path = farm.own / "parrot.yaml"
    path.write_text(TOOL.format(word="hello"))
    assert reload(farm)[0] == 0
    until_it_says(farm, "hello")
    path.write_text(TOOL.format(word="'{wrd}'"))
    (farm.own / "parakeet.yaml").write_text(TOOL.format(word="x"))
    status, out, said = reload(farm)
    assert (status, out) == (2, "")
    assert f"nothing was taken in: {path}:7:18: operations.say.argv[1]: no parameter 'wrd'" in said
    assert say(farm) == "hello"
    assert farm.call("GET", "/tools/parakeet").status_code == 404


@pytest.mark.parametrize(
    ("key", "rule"),
    [("approval", "{tools: [parrot], need: other}"), ("limits", "{tools: [parrot], running: 1}")],
)
def test_a_tool_that_the_policy_names_is_not_taken_away(servers, tmp_path, key, rule):
    own, policy = tmp_path / "own", tmp_path / "policy.yaml"
    own.mkdir()
    (own / "parrot.yaml").write_text(TOOL.format(word="hello"))
    policy.write_text(f"{key}:\n  - {rule}\n")
    settings = {"OPSFARM_TOOL_PATH": str(own), "OPSFARM_POLICY_FILE": str(policy)}
    with RealFarm(servers, tmp_path / "farm", "api", settings=settings) as farm:
        (own / "parrot.yaml").unlink()
        status, _, said = reload(farm)
        assert status == 2
        assert f"policy {policy}: {key}: no tool 'parrot'" in said
        assert farm.call("GET", "/tools/parrot").status_code == 200


def test_only_an_admin_may(farm):
    assert farm.call("POST", "/tools/reload", role=Role.OPERATOR, json={}).status_code == 403


def test_beat_listens_too_and_ends_in_order(farm):
    farm.start("beat")
    wait_until(lambda: "beat: Starting" in farm.logs()["beat"], farm.logs)
    (farm.own / "parrot.yaml").write_text(TOOL.format(word="hello"))
    wait_until(lambda: reload(farm)[0] == 0 and _renew(farm), farm.logs)
    farm.processes["beat"].send_signal(signal.SIGTERM)
    assert farm.processes["beat"].wait(15) == 0
    assert farm.tracebacks() == []


def _renew(farm):
    """Beat was told; until it listens, there must be something new to tell."""
    told = "tools were read anew" in farm.logs()["beat"]
    with (farm.own / "parrot.yaml").open("a") as file:
        file.write("# more\n")
    return told
