import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ConfigError
from app.principal import Principal, Role
from app.safety import Policy, effect_of, judge, judge_target, read_policy
from app.step import LOCAL, Target
from tool_catalog.model import Effect

LISTED = [["uptime"], ["uname", "-a"], ["free", "-b"], ["cat", "/etc/os-release"], ["date"]]


@pytest.fixture
def command(catalog):
    return catalog.find("command").operations["run"]


@pytest.fixture
def policy_of(tmp_path):
    def read(text):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return read_policy(path)

    return read


def test_the_shipped_policy_is_read():
    policy = read_policy()
    assert policy.local == "allow"
    assert all(rule.effect is Effect.READ for rule in policy.command)


@pytest.mark.parametrize("argv", LISTED)
def test_listed_commands_only_read(command, argv):
    assert effect_of(command, {"argv": argv}, read_policy()) is Effect.READ


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["reboot"],
        ["/tmp/uptime"],
        ["./uptime"],
        ["UPTIME"],
        ["uptime "],
        ["uptime\n"],
        ["uptime", ""],
        ["uptime", "-s"],
        ["hostname", "evil"],
        ["date", "-s", "2020-01-01"],
        ["date", "--set=2020-01-01"],
        ["uname", "-a", "-a"],
        ["cat", "/etc/shadow"],
        ["cat", "/proc/loadavg", "/etc/shadow"],
        ["cat", "/proc/../etc/shadow"],
        ["cat", "/proc/self/environ"],
        ["cat", "-n", "/proc/loadavg"],
        ["sh", "-c", "uptime"],
        ["sudo", "uptime"],
        "uptime",
        [["uptime"]],
        None,
    ],
)
def test_anything_else_keeps_the_effect_of_the_operation(command, argv):
    assert effect_of(command, {"argv": argv}, read_policy()) is Effect.DESTROY


def test_input_beside_the_argv_could_widen_it(command):
    parameters = {"argv": ["uptime"], "stdin": "x"}
    assert effect_of(command, parameters, read_policy()) is Effect.DESTROY
    assert effect_of(command, {"argv": ["uptime"], "stdin": None}, read_policy()) is Effect.READ


def test_only_an_operation_whose_caller_writes_the_argv_is_lowered(catalog):
    restart = catalog.find("systemctl").operations["restart"]
    assert effect_of(restart, {"argv": ["uptime"]}, read_policy()) is Effect.CHANGE


STAR = "command: [{argv: [cat, /var/log/app-*], effect: read}]"


@pytest.mark.parametrize("name", ["web", "a.b", "1", "x@y-z"])
def test_a_star_stands_for_one_name(command, policy_of, name):
    argv = ["cat", f"/var/log/app-{name}"]
    assert effect_of(command, {"argv": argv}, policy_of(STAR)) is Effect.READ


@pytest.mark.parametrize(
    "item",
    [
        "/var/log/app-",
        "/var/log/app-../x",
        "/var/log/app-x/../../etc/shadow",
        "/var/log/app-x/y",
        "/var/log/app-..",
        "/var/log/app-x y",
        "/var/log/app-x\n/etc/shadow",
        "/var/log/app-*",
        "/var/log/app-$(id)",
        "/var/log/app-é",
        "/var/log/other",
        "-n/var/log/app-x",
    ],
)
def test_a_star_stands_for_nothing_else(command, policy_of, item):
    assert effect_of(command, {"argv": ["cat", item]}, policy_of(STAR)) is Effect.DESTROY


@given(st.text(max_size=20))
def test_no_text_gets_past_a_star_with_a_path_in_it(text):
    rule = Policy.model_validate_json(
        '{"command": [{"argv": ["cat", "/proc/x-*"], "effect": "read"}]}'
    ).command[0]
    if rule.fits(["cat", "/proc/x-" + text]):
        assert not set(text) & set("/ \n\0*?$`;")
        assert ".." not in text


def test_a_listed_command_can_also_be_a_change(command, policy_of):
    policy = policy_of("command: [{argv: [touch, /tmp/x], effect: change}]")
    assert effect_of(command, {"argv": ["touch", "/tmp/x"]}, policy) is Effect.CHANGE


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local: maybe", "local"),
        ("lokal: deny", "lokal"),
        ("command: [{argv: [cat], effect: none}]", "effect"),
        ("command: [{argv: [], effect: read}]", "program"),
        ("command: [{argv: ['*'], effect: read}]", "before the"),
        ("command: [{argv: ['ca*'], effect: read}]", "program"),
        ("command: [{argv: [cat, '*'], effect: read}]", "before the"),
        ("command: [{argv: [cat, '-*'], effect: read}]", "no option"),
        ("command: [{argv: [cat, '/a/../*'], effect: read}]", "before the"),
        ("command: [{argv: [cat, '/a/*/b'], effect: read}]", "end of an item"),
        ("command: [{argv: [cat, ''], effect: read}]", "item"),
        ("command: [{argv: uptime, effect: read}]", "argv"),
        ("command: [{argv: [uptime], effect: read, shell: true}]", "shell"),
        ("local: &a deny", "1:8"),
        ("", "policy"),
    ],
)
def test_a_policy_that_cannot_be_trusted_stops_the_start(policy_of, text, words):
    with pytest.raises(ConfigError, match=words):
        policy_of(text)


def test_a_policy_that_is_not_there_names_the_setting(tmp_path):
    with pytest.raises(ConfigError, match="OPSFARM_POLICY_FILE"):
        read_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("parameters", "effect"),
    [
        ({"path": "/x", "mode": "0644", "recursive": False}, Effect.CHANGE),
        ({"path": "/x", "mode": "0644", "recursive": True}, Effect.DESTROY),
        ({"path": "/x", "mode": "4755"}, Effect.DESTROY),
        ({"path": "/x", "mode": "14755"}, Effect.CHANGE),
    ],
)
def test_destroy_if(catalog, parameters, effect):
    operation = catalog.find("chmod").operations["set"]
    assert effect_of(operation, parameters, read_policy()) is effect


@pytest.mark.parametrize(
    ("condition", "value", "effect"),
    [
        ({"signal": ["KILL", "ABRT"]}, "KILL", Effect.DESTROY),
        ({"signal": ["KILL", "ABRT"]}, "HUP", Effect.READ),
        ({"signal": "KILL"}, ["HUP", "KILL"], Effect.DESTROY),
        ({"signal": {"pattern": "K.*"}}, ["HUP", "KILL"], Effect.DESTROY),
        ({"signal": {"pattern": "K.*"}}, None, Effect.READ),
        ({"signal": "KILL", "force": True}, "KILL", Effect.READ),
    ],
)
def test_conditions_of_destroy_if(catalog, condition, value, effect):
    operation = (
        catalog.find("df").operations["usage"].model_copy(update={"destroy_if": (condition,)})
    )
    assert effect_of(operation, {"signal": value}, read_policy()) is effect


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, False),
        (Role.APPROVER, False),
        (Role.OPERATOR, True),
        (Role.ADMIN, True),
    ],
)
def test_only_operators_and_admins_run_plans(check, role, allowed):
    (step,) = check("steps: [{tool: df}]").steps
    verdict = judge(step, read_policy(), Principal(1, "vera", role), {})
    assert verdict.allowed is allowed
    if not allowed:
        assert "vera" in verdict.fault
        assert "operator" in verdict.hint


def test_policy_may_deny_the_worker_itself(check):
    denied = Policy(local="deny")
    assert not judge_target(LOCAL, denied).allowed
    assert judge_target(Target("web-01", 1), denied).allowed
    assert judge_target(None, denied).allowed
    (step,) = check("steps: [{tool: df}]").steps
    assert not judge(step, denied, Principal(1, "olga", Role.ADMIN), {}).allowed
