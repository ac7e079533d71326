from app.cli.run import make_plan

OPTIONS = {"operation": None, "targets": (), "confirm": (), "timeout_s": None}


def test_only_what_was_given_is_in_the_plan():
    assert make_plan("df", {}, OPTIONS) == {"steps": [{"tool": "df"}]}


def test_options_become_members_of_the_step():
    options = {
        "operation": "restart",
        "targets": ("web-01", "web-02"),
        "confirm": ("web-01",),
        "timeout_s": 5.0,
        "run_as": "root",
        "vantage": "cap-1",
    }
    (step,) = make_plan("systemctl", {"unit": "nginx.service"}, options)["steps"]
    assert step == {
        "tool": "systemctl",
        "operation": "restart",
        "parameters": {"unit": "nginx.service"},
        "targets": ["web-01", "web-02"],
        "confirm": "web-01",
        "timeout_s": 5.0,
        "run_as": "root",
        "vantage": "cap-1",
    }
