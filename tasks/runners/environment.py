"""The fixed environment of every command: no locale, pager, colour or dotfile of anyone's."""

from collections.abc import Mapping

#: Names the step in the environment of its processes, so that they can be found and ended.
MARKER = "OPSFARM_STEP"

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

FIXED: Mapping[str, str] = {
    "PATH": SEARCH_PATH,
    "LC_ALL": "C",
    "LANG": "C",
    "TZ": "UTC",
    "PAGER": "cat",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
    "NO_COLOR": "1",
    "AWS_PAGER": "",
    "COLUMNS": "200",
}
