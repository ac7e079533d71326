"""A real Prometheus on loopback that scrapes itself and an exporter with planted values."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from app.admin.servers import find_free_port
from app.step import Target
from tests.lab.daemon import run_daemon
from tests.lab.receivers import Receiver, Reply
from tests.lab.waiting import wait_until

#: What a scrape finds; a test plants its own.
PLANTED = """\
# HELP lab_temperature_celsius What a sensor says.
# TYPE lab_temperature_celsius gauge
lab_temperature_celsius{room="cellar"} 11.5
lab_temperature_celsius{room="attic"} 31
"""
_CONFIG = """\
global: {{scrape_interval: 200ms, evaluation_interval: 200ms, scrape_timeout: 200ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: prometheus
    metrics_path: {path}
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
  - {{job_name: lab, static_configs: [{{targets: ['{exporter}'], labels: {{site: here}}}}]}}
  - {{job_name: gone, static_configs: [{{targets: ['127.0.0.1:9']}}]}}
"""
_RULES = """\
groups:
  - name: rooms
    rules:
      - {record: 'room:temperature:max', expr: max(lab_temperature_celsius)}
      - alert: RoomIsHot
        expr: lab_temperature_celsius > 30
        labels: {severity: page}
        annotations: {summary: it is hot}
"""


@dataclass
class Prometheus:
    """`metrics` may be written anew at any time: the next scrape finds it."""

    port: int
    folder: Path
    base_path: str = ""
    metrics: str = PLANTED

    @property
    def target(self) -> Target:
        """The server as an asset."""
        options = {"scheme": "http", "base_path": self.base_path}
        return Target("prom-1", 11, "127.0.0.1", "http", self.port, options=options)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}{self.base_path}"

    @property
    def config(self) -> Path:
        """What `reload` reads."""
        return self.folder / "prometheus.yml"

    def ask(self, expression: str) -> list:
        """The result of an instant query, past opsfarm."""
        query = urlencode({"query": expression})
        with urlopen(f"{self.url}/api/v1/query?{query}", timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def run_prometheus(
    folder: Path, program: str, *flags: str, base_path: str = ""
) -> Iterator[Prometheus]:
    """Gives it once it has scraped itself and the exporter, and has looked at its rules."""
    server = Prometheus(find_free_port(), folder, base_path)
    with Receiver(lambda _request: _expose(server)) as exporter:
        address = exporter.url.removeprefix("http://")
        config = _CONFIG.format(port=server.port, path=f"{base_path}/metrics", exporter=address)
        server.config.write_text(config)
        (folder / "rules.yml").write_text(_RULES)
        argv = [
            program,
            f"--config.file={server.config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{server.port}",
            *flags,
        ]
        with run_daemon(argv, folder / "prometheus.log", server.is_ready):
            wait_until(lambda: server.ask("room:temperature:max and on() ALERTS"))
            wait_until(lambda: len(server.ask("up")) == 3)
            yield server


def _expose(server: Prometheus) -> Reply:
    return Reply(200, server.metrics.encode(), {"Content-Type": "text/plain; version=0.0.4"})
