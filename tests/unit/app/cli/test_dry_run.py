"""What people read of one row of a dry run."""

from app.cli.dry_run import name_target, print_run
from app.plan import CheckedRow
from app.preview import show_run
from app.privilege import KnownLogin
from app.step import LOCAL, Target
from app.store.rows import target_json
from tool_catalog.loader import load_catalog

TOOLS = load_catalog().tools
WEB = Target("web-01", 1, "192.0.2.1", "ssh")
SUDO = KnownLogin("key", "ops", {"method": "sudo", "user": "root"})


def lines(capsys, tool, operation, given, *, target=WEB, login=SUDO, run_as=None):
    found = TOOLS[tool]
    row = CheckedRow(given, target)
    shown = show_run(found, found.operations[operation], row, run_as, login)
    print_run(name_target(target.name, target_json(target) | shown), shown)
    return capsys.readouterr().out.splitlines()


def test_everything_stands_in_its_order(capsys):
    shown = lines(capsys, "systemctl", "restart", {"unit": "nginx.service"})
    assert shown[0] == "  web-01 (192.0.2.1, credential key as ops, sudo to root)"
    assert [line.split()[0] for line in shown[1:]] == ["before", "run", "verify"]
    assert shown[2] == "    run     sudo -n -H -u root -- systemctl restart -- nginx.service"
    assert "-- nginx.service, for 30 s until output.ActiveState == 'active' and" in shown[3]


def test_a_check_and_what_the_line_does_not_tell(capsys):
    given = {"interface": "eth0", "packets": 5, "duration_s": 9, "max_bytes": 9999}
    shown = lines(capsys, "tcpdump", "capture", given, target=LOCAL, login=None)
    assert shown[0] == "  local (localhost)"
    assert shown[1] == "    check   tcpdump -d -i eth0"
    assert shown[2].endswith('-w -  {"run_for_s": 9.0, "artifact": "pcap"}')


def test_a_worker_that_becomes_somebody_and_what_reverses_it(capsys):
    given = {"path": "/x", "mode": "600"}
    shown = lines(capsys, "chmod", "set", given, target=LOCAL, login=None, run_as="app")
    assert shown[1].startswith("    before  as app: stat '--printf=")
    assert shown[2] == "    run     as app: chmod -c --preserve-root -- 600 /x"
    assert shown[3] == "    undo    set"


def test_a_refusal_is_told(capsys):
    plain = KnownLogin("key", "ops")
    shown = lines(capsys, "systemctl", "stop", {"unit": "x"}, login=plain)
    assert shown[2].startswith("    run     refused: this runs as root, but credential key")


def test_python_operations_tell_their_parameters(capsys):
    given = {"to": ["ops@example.com"], "subject": "x"}
    shown = lines(capsys, "sendmail", "send", given, target=LOCAL, login=None)
    assert '{"parameters": {"to": ["ops@example.com"], "subject": "x"}}' in shown[1]


def test_nothing_that_a_plan_says_breaks_its_line_or_steers_the_terminal(capsys):
    argv = ["sh", "-c", "a\r\n\x1b[2K\x1b[1A\u202eb"]
    shown = lines(capsys, "command", "run", {"argv": argv})
    assert shown[1:] == ["    run     sh -c 'a\\r\\n\\x1b[2K\\x1b[1A\\u202eb'"]


def test_what_goes_in_is_told_to_its_end(capsys):
    shown = lines(capsys, "command", "run", {"argv": ["sh"], "stdin": "x" * 9000 + "end"})
    assert shown[1].endswith('xend"}')


def test_a_request_tells_what_it_sends(capsys):
    request = {"method": "POST", "path": "/x", "json": {"on": True}, "query": {}}
    print_run("camera", {"command": {"kind": "http", "line": "POST /x", "request": request}})
    assert capsys.readouterr().out.splitlines()[1] == '    run     POST /x  {"json": {"on": true}}'


def test_what_would_have_to_wait(capsys):
    holder = {"execution_id": "e", "step": "a", "position": 1, "target": None}
    shown = {
        "command": {"kind": "argv", "line": "true"},
        "blocked_by": holder | {"state": "running", "since": "2026-01-02T12:00:00+00:00"},
        "lock": "asset:1",
        "limits": ["2 running systemctl"],
    }
    print_run("web-01", shown)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "    blocked by step 1 (a) of execution e, since 2026-01-02 12:00:00 UTC",
        "    limit   at most 2 running systemctl",
    ]
