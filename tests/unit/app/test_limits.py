import pytest

from app.errors import ConfigError
from app.limits import LimitRule, check_limits, limit_steps
from app.plan import Cap, CheckedRow
from app.principal import Principal, Role
from app.safety import read_policy
from app.step import LOCAL, Target
from tests.lab.ledger_bench import make_change, make_step
from tool_catalog.loader import load_catalog
from tool_catalog.names import UnknownName

OPS = Principal(1, "ops", Role.OPERATOR)
LIMITED = """
summary: A tool that may not be asked too often
execution_location: automation-service
operations:
  ask:
    summary: Ask it
    effect: read
    argv: [ask-thing]
    rate_limit: 10/min
    examples: [{parameters: {}}]
"""


def rules_of(tmp_path, text):
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read_policy(path).limits


def step_on(*names, tool="systemctl", make=make_change, **members):
    rows = tuple(CheckedRow({}, Target(name, asset_id=n)) for n, name in enumerate(names, 1))
    step = make(tool, operation="restart", **members)
    return type(step)(**{**{f: getattr(step, f) for f in step.__slots__}, "rows": rows})


@pytest.fixture
def caps_of(tmp_path, catalog):
    """`caps_of(policy, step)`: the caps of each row."""

    def run(text, step, catalog=catalog):
        rules = rules_of(tmp_path, text)
        (limited,) = limit_steps([step], rules, OPS, catalog)
        return [row.caps for row in limited.rows]

    return run


def test_a_policy_without_limits_concerns_no_row(catalog):
    step = step_on("web-01")
    assert limit_steps([step], read_policy().limits, OPS, catalog) == (step,)


def test_what_fits_counts_together(caps_of):
    text = "limits: [{tools: [systemctl], running: 2}]"
    assert (
        caps_of(text, step_on("web-01", "web-02"))
        == [(Cap("tools=systemctl per", "systemctl", 2, None),)] * 2
    )


@pytest.mark.parametrize(
    "rule",
    [
        "tools: [df]",
        "domain: network",
        "effect: read",
        "targets: [db-01]",
        "principals: [ann]",
    ],
)
def test_a_rule_about_other_steps_holds_nobody(caps_of, rule):
    assert caps_of(f"limits: [{{{rule}, running: 1}}]", step_on("web-01")) == [()]


def test_tools_are_named_as_everywhere(caps_of):
    assert len(caps_of("limits: [{tools: [SystemCTL], running: 1}]", step_on("web-01"))[0]) == 1


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("running: 5", "steps"),
        ("tools: [systemctl, df], running: 1", "systemctl or df"),
        ("per: [target], running: 1", "steps on web-01"),
        ("tools: [systemctl], per: [target], running: 1", "systemctl on web-01"),
        ("per: [tool, target], running: 1", "systemctl on web-01"),
        ("per: [principal], running: 1", "steps for ops"),
        ("domain: automation, principals: [ops], running: 1", "steps of automation for ops"),
        ("per: [domain], running: 1", "steps of automation"),
        ("effect: change, targets: [web-01], every_s: 5", "steps that change on web-01"),
    ],
)
def test_a_cap_says_what_it_counts(caps_of, rule, what):
    ((cap,),) = caps_of(f"limits: [{{{rule}}}]", step_on("web-01"))
    assert cap.what == what


def test_what_is_counted_apart_has_another_key(caps_of):
    text = "limits: [{per: [target], running: 1}]"
    (one,), (other,) = caps_of(text, step_on("web-01", "web-02"))
    assert (one.key, other.key) == ("per target=web-01", "per target=web-02")


def test_a_changed_number_goes_on_counting_the_same_steps(caps_of):
    (one,) = caps_of("limits: [{running: 1}]", step_on("web-01"))[0]
    (other,) = caps_of("limits: [{running: 9, every_s: 2.5}]", step_on("web-01"))[0]
    assert one.key == other.key
    assert (other.running, other.every_s) == (9, 2.5)


def test_every_rule_that_fits_counts(caps_of):
    text = "limits: [{running: 9}, {tools: [systemctl], running: 2}, {tools: [df], running: 1}]"
    assert [cap.running for cap in caps_of(text, step_on("web-01"))[0]] == [9, 2]


def test_a_step_without_a_target_has_no_place_in_a_limit_for_each(tmp_path, catalog):
    rules = rules_of(tmp_path, "limits: [{per: [target], running: 1}]")
    step = make_step("df", operation="usage")
    (limited,) = limit_steps([step], rules, OPS, catalog)
    assert limited.rows[0].caps == ()


def test_the_worker_s_own_host_is_a_target(caps_of):
    text = "limits: [{targets: [local], running: 1}]"
    assert len(caps_of(text, step_on(LOCAL.name))[0]) == 1


@pytest.mark.parametrize("members", [{"dynamic": True}, {"skipped": "when is false"}])
def test_what_has_no_rows_yet_has_no_caps(caps_of, members):
    assert caps_of("limits: [{running: 1}]", step_on("web-01", **members)) == [()]


def test_a_rate_limit_counts_all_starts_of_the_operation(tmp_path):
    (tmp_path / "thing.yaml").write_text(LIMITED)
    catalog = load_catalog(str(tmp_path))
    step = make_step("thing", operation="ask", rows=2)
    (limited,) = limit_steps([step], (), OPS, catalog)
    cap = Cap("rate thing.ask", "thing ask", None, 6.0)
    assert [row.caps for row in limited.rows] == [(cap,), (cap,)]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("tools: [df]", "`running`, `every_s`, or both"),
        ("running: 0", "greater than or equal to 1"),
        ("running: 1.5", "integer"),
        ("every_s: 0", "greater than 0"),
        ("every_s: 90000", "less than or equal to 86400"),
        ("running: 1, tools: []", "at least 1 item"),
        ("running: 1, domain: web", "'comms', 'asset', 'network' or 'automation'"),
        ("running: 1, per: [rack]", "'tool', 'domain', 'target' or 'principal'"),
        ("running: 1, tool: df", "Extra inputs"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_its_place(tmp_path, rule, words):
    with pytest.raises(ConfigError, match=r"limits\.0.*" + words):
        rules_of(tmp_path, f"limits: [{{{rule}}}]")


def test_a_rule_about_a_tool_that_there_is_not_is_refused(catalog):
    with pytest.raises(UnknownName, match="systemctl"):
        check_limits((LimitRule(tools=("sistemctl",), running=1),), catalog)
