from app.changed_tools import blame_changes, find_changed, warn_of_changes
from app.errors import Fault
from app.plan import Plan
from tool_catalog.loader import load_catalog

CATALOG = load_catalog()
PLAN = Plan((), stored=("nightly", 3), changed_tools=("df", "slack-cli"))


def test_only_another_file_is_a_change():
    kept = {"df": CATALOG.find("df").digest, "ping": "0" * 64, "gone": "1" * 64}
    assert find_changed(kept, CATALOG) == ("gone", "ping")


def test_each_change_is_one_warning_that_names_tool_and_version():
    assert warn_of_changes(PLAN) == [
        "df changed since nightly@3 was saved",
        "slack-cli changed since nightly@3 was saved",
    ]
    assert warn_of_changes(Plan(())) == []


def test_a_fault_of_a_changed_tool_says_so_as_its_hint():
    faults = [
        Fault("steps[0].parameters.pth", "unknown_parameter", "no", "1 (df)", hint="did you?"),
        Fault("steps[1].tool", "missing", "no", "2 (Slack_CLI)"),
        Fault("steps[2].tool", "missing", "no", "3 (ping)", hint="look"),
        Fault("targets", "bad_selector", "no"),
    ]
    assert [fault.hint for fault in blame_changes(PLAN, faults)] == [
        "did you?; df changed since nightly@3 was saved",
        "slack-cli changed since nightly@3 was saved",
        "look",
        None,
    ]
