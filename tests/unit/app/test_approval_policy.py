"""Which rule fits a step, and whose yes it then needs."""

from dataclasses import replace

import pytest

from app.approval_policy import ApprovalRule, find_members, find_need, find_plain_need, join_needs
from app.errors import ConfigError
from app.plan import CheckedRow, Need
from app.safety import DEFAULT_POLICY, read_policy
from app.selector import Selection
from app.step import LOCAL, Target
from tests.lab.ledger_bench import make_step
from tool_catalog.model import Effect

SELF = Need("self")
OTHER = Need("other", {"approver": 1})
STRICT = DEFAULT_POLICY.with_name("policy.strict.yaml")
PRODUCTION = {"environment": "production"}


@pytest.fixture
def read(tmp_path):
    """`read(text)`: the policy of a text."""

    def run(text):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return read_policy(path)

    return run


def step(effect, *targets, tool="tool"):
    """A checked step on these targets; on none it runs on the farm."""
    rows = tuple(CheckedRow({}, target) for target in targets) or (CheckedRow({}),)
    return replace(make_step(tool, effect=effect), rows=rows)


def asset(number):
    return Target(f"web-{number:02}", number)


def need(policy, checked, production=()):
    """What a step needs where these assets are in production."""
    asked = []

    def select(selector):
        asked.append(selector)
        return Selection(tuple(asset(number) for number in production))

    members = find_members([checked], policy.approval, select)
    return find_need(checked, policy.approval, members)


@pytest.mark.parametrize(
    ("effect", "expected"), [(Effect.READ, None), (Effect.CHANGE, None), (Effect.DESTROY, SELF)]
)
def test_the_embedded_policy_wants_a_reason_for_what_destroys(effect, expected):
    assert need(read_policy(), step(effect, asset(1)), production=[1]) == expected


@pytest.mark.parametrize(
    ("effect", "target", "expected"),
    [
        (Effect.DESTROY, asset(1), OTHER),
        (Effect.DESTROY, LOCAL, OTHER),
        (Effect.DESTROY, None, OTHER),
        (Effect.CHANGE, asset(7), OTHER),
        (Effect.CHANGE, asset(1), None),
        (Effect.CHANGE, LOCAL, None),
        (Effect.CHANGE, None, None),
        (Effect.READ, asset(7), None),
    ],
)
def test_the_strict_policy_wants_four_eyes(effect, target, expected):
    targets = () if target is None else (target,)
    assert need(read_policy(STRICT), step(effect, *targets), production=[7, 8]) == expected


def test_under_the_strict_policy_nobody_moves_an_asset_out_of_production_alone():
    assert need(read_policy(STRICT), step(Effect.CHANGE, tool="asset-update")) == OTHER
    rules = read_policy(STRICT).approval
    assert find_plain_need("asset_update", Effect.CHANGE, rules) == OTHER
    assert find_plain_need("asset-create", Effect.CHANGE, rules) is None
    assert find_plain_need("asset-update", Effect.CHANGE, read_policy().approval) is None


def test_the_strict_policy_is_the_embedded_one_but_for_its_approvals():
    assert read_policy(STRICT).command == read_policy().command


def test_one_row_in_production_is_enough(read):
    policy = read("approval: [{where: {environment: production}, need: other}]")
    assert need(policy, step(Effect.CHANGE, asset(1), asset(7)), production=[7]) == OTHER


def test_the_first_rule_that_fits_a_row_decides(read):
    policy = read(
        "approval:\n"
        "  - {tools: [Asset_Delete], need: none}\n"
        "  - {where: {environment: production}, need: other}\n"
        "  - {effect: destroy, need: self_with_reason}\n"
    )
    assert need(policy, step(Effect.DESTROY, tool="asset-delete")) is None
    assert need(policy, step(Effect.DESTROY, asset(7)), production=[7]) == OTHER
    assert need(policy, step(Effect.DESTROY, asset(1)), production=[7]) == SELF
    both = step(Effect.DESTROY, asset(1), asset(7))
    assert need(policy, both, production=[7]) == OTHER


def test_a_rule_for_one_effect_is_for_no_other(read):
    policy = read("approval: [{effect: change, need: other}]")
    assert need(policy, step(Effect.CHANGE)) == OTHER
    assert need(policy, step(Effect.DESTROY)) is None


def test_a_group_and_how_many_of_it(read):
    policy = read(
        "approval: [{tools: [psql], need: {group: dba, count: 2}}]\ngroups: {dba: [ann, bob]}"
    )
    assert need(policy, step(Effect.CHANGE, tool="psql")) == Need("other", {"dba": 2})


def test_a_rule_whose_assets_are_not_known_fits():
    rules = (ApprovalRule(where=PRODUCTION, need="other"),)
    assert find_need(step(Effect.CHANGE, asset(1)), rules, {}) == OTHER


def test_the_inventory_is_asked_for_the_steps_own_assets_alone():
    asked = []

    def select(selector):
        asked.append(selector)
        return Selection((asset(2), asset(9)))

    rules = read_policy(STRICT).approval
    steps = [step(Effect.CHANGE, asset(1), asset(2)), step(Effect.CHANGE, asset(3))]
    assert find_members(steps, rules, select) == {1: frozenset({2})}
    assert [each.where for each in asked] == [
        {"environment": ("production",), "id": ("1", "2", "3")}
    ]


@pytest.mark.parametrize("checked", [step(Effect.READ, asset(1)), step(Effect.CHANGE)])
def test_the_inventory_is_not_asked_where_no_rule_could_fit(checked):
    find_members([checked], read_policy(STRICT).approval, lambda _: pytest.fail("it was asked"))


@pytest.mark.parametrize("members", [{"dynamic": True}, {"skipped": "nobody"}])
def test_what_is_not_known_or_does_nothing_is_not_asked_for(members):
    checked = replace(step(Effect.DESTROY), **members)
    assert find_need(checked, read_policy().approval, {}) is None


@pytest.mark.parametrize(
    ("needs", "joined"),
    [
        ([], None),
        ([None, None], None),
        ([None, SELF], SELF),
        ([SELF, OTHER], OTHER),
        ([OTHER, SELF, None], OTHER),
        (
            [Need("other", {"dba": 2}), OTHER, Need("other", {"dba": 1, "net": 1})],
            Need("other", {"dba": 2, "approver": 1, "net": 1}),
        ),
    ],
)
def test_several_needs_are_satisfied_together(needs, joined):
    assert join_needs(needs) == joined


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("approval: [{need: {group: dba}}]", "nobody of it is named"),
        (
            "approval: [{need: {group: dba, count: 2}}]\ngroups: {dba: [ann, ann]}",
            "2 of the group 'dba' must say yes",
        ),
        ("approval: [{need: none}]\ngroups: {approver: [ann]}", "is there by itself"),
        ("approval: [{need: sometimes}]", "approval.0.need"),
        ("approval: [{need: {group: dba, count: 0}}]\ngroups: {dba: [a]}", "approval.0.need"),
        ("approval: [{effect: destroy}]", "approval.0.need"),
        ("approval: [{tools: [], need: none}]", "approval.0.tools"),
        ("approval: [{where: {enviroment: production}, need: other}]", "did you mean environment"),
        ("approval: [{whom: x, need: other}]", "approval.0.whom"),
        ("approval: {need: other}", "approval"),
    ],
)
def test_a_rule_that_could_not_work_is_refused(read, text, part):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert part in str(caught.value)
