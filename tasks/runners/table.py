"""The runners by the connection type of a target."""

from app.config import Settings
from tasks.runners.base import Runner
from tasks.runners.http import HttpRunner
from tasks.runners.local import LocalRunner
from tasks.runners.ssh import SshRunner
from tasks.runners.winrm import WinrmRunner
from tasks.scratch import scratch_folder


def make_runners(settings: Settings) -> dict[str, Runner]:
    """One runner per `Target.connection`, for the life of a worker; close each at its end."""
    scratch = scratch_folder(settings)
    return {
        "local": LocalRunner(scratch),
        "ssh": SshRunner(scratch),
        "http": HttpRunner(scratch, settings.http_ca_file),
        "winrm": WinrmRunner(scratch, settings.http_ca_file),
    }
