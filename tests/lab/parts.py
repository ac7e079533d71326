"""The parts of the lab as `make lab` starts them: each gives the lines that say how to use it."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from app.admin.servers import Server, find_free_port, postgres_program, start_postgres, start_redis
from app.step import Target
from tests.lab import mariadb, ssh_files
from tests.lab.camera import USERS, Camera
from tests.lab.dns import run_dns
from tests.lab.engine import BASE_IMAGE, run_engine
from tests.lab.host import Hosts, user_key
from tests.lab.moto import run_moto
from tests.lab.prometheus import run_prometheus
from tests.lab.rabbitmq import run_rabbitmq
from tests.lab.receivers import Received, Receiver, Reply
from tests.lab.root_tree import CACHE, PASSWORD
from tests.lab.smtp import MailServer
from tests.lab.windows import WindowsHost

SERVICE = {
    "Name": "Spooler",
    "DisplayName": "Print Spooler",
    "Status": "Running",
    "StartType": "Automatic",
}

#: Takes an empty folder and a count.
Part = Callable[[Path, int], AbstractContextManager[list[str]]]


@contextmanager
def hosts(_folder: Path, count: int) -> Iterator[list[str]]:
    """Hosts with systemd and sshd."""
    with Hosts() as started:
        running = started.start(*(f"lab-{number:02}" for number in range(1, count + 1)))
        config = ssh_files.write(CACHE, running, user_key())
        yield [
            *(f"{host.name}  {host.address}  {host.host_key}" for host in running),
            f"log in as ops (sudo with password {PASSWORD}), deploy (sudo without), guest, root;",
            f"the password is {PASSWORD}, the key {user_key()}",
            f"ssh -F {config} ops@{running[0].name} systemctl status cron",
        ]


@contextmanager
def postgres(folder: Path, _count: int) -> Iterator[list[str]]:
    """A PostgreSQL of the wheel's."""
    folder.chmod(0o755)  # it runs as nobody
    server = start_postgres(folder / "data", find_free_port(), PASSWORD, ["fsync=off"])
    with _stopped(server):
        url = server.url.replace("+psycopg2", "")
        yield [f"{postgres_program('psql')} {url} -c 'select version()'"]


@contextmanager
def redis(folder: Path, _count: int) -> Iterator[list[str]]:
    """A Redis of the wheel's."""
    port = find_free_port()
    with _stopped(start_redis(folder / "data", port, PASSWORD)):
        yield [f"redis-cli -p {port} -a {PASSWORD} info server"]


@contextmanager
def maria(folder: Path, _count: int) -> Iterator[list[str]]:
    """A MariaDB of Debian's."""
    with mariadb.run_mariadb(folder, _program("mariadbd")) as server:
        yield [
            f"ops may use the database {server.database}, guest may log in; password {PASSWORD}",
            f"mariadb -h 127.0.0.1 -P {server.port} -u ops -p{PASSWORD} {server.database}",
        ]


@contextmanager
def rabbitmq(folder: Path, _count: int) -> Iterator[list[str]]:
    """A RabbitMQ of Debian's."""
    with run_rabbitmq(folder, _program("epmd")) as url:
        yield [f"OPSFARM_BROKER_URL={url} opsfarm up"]


@contextmanager
def smtp(_folder: Path, _count: int) -> Iterator[list[str]]:
    """A mail server that tells who got mail."""
    with MailServer(on_recipient=lambda address: print(f"smtp: mail for {address}")) as server:
        yield [f"SMTP_HOST=127.0.0.1 SMTP_PORT={server.port} SMTP_USE_TLS=off opsfarm up"]


@contextmanager
def http(_folder: Path, _count: int) -> Iterator[list[str]]:
    """An HTTP server that takes everything, and tells it."""
    with Receiver(_tell) as server:
        yield [f"curl -d 'a body' {server.url}/any/path"]


@contextmanager
def moto(folder: Path, _count: int) -> Iterator[list[str]]:
    """An AWS with nothing in it."""
    with run_moto(folder) as url:
        keys = "AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab AWS_DEFAULT_REGION=eu-west-1"
        yield [f"AWS_ENDPOINT_URL={url} {keys} aws --endpoint-url {url} s3 mb s3://lab-bucket"]


@contextmanager
def prometheus(folder: Path, _count: int) -> Iterator[list[str]]:
    """A Prometheus of Debian's with an alert that fires."""
    with run_prometheus(folder, _program("prometheus"), "--web.enable-lifecycle") as server:
        yield [
            f"curl '{server.url}/api/v1/query?query=lab_temperature_celsius'",
            f"as an asset: {show_connection(server.target)}",
        ]


@contextmanager
def camera(_folder: Path, _count: int) -> Iterator[list[str]]:
    """A double of an Axis camera."""
    with Camera() as running:
        url = f"http://127.0.0.1:{running.target().port}/axis-cgi/com/ptz.cgi?query=position"
        yield [
            *(f"{name} ({account.role}): {account.password}" for name, account in USERS.items()),
            f"curl --digest -u root:{USERS['root'].password} '{url}'",
            f"as an asset: {show_connection(running.target())}",
        ]


@contextmanager
def windows(folder: Path, _count: int) -> Iterator[list[str]]:
    """A double of a Windows host that knows one service."""
    host = WindowsHost(folder)
    host.plant("get-service", "list", {}, [SERVICE])
    login = host.credential
    with host.double:
        yield [
            f"{login.username}: {login.password.reveal()}",
            "it answers 'get-service list' and nothing else",
            f"as an asset: {show_connection(host.target)}",
        ]


@contextmanager
def dns(folder: Path, _count: int) -> Iterator[list[str]]:
    """A name server of Debian's with one zone."""
    zones = {"lab.example": "web IN A 192.0.2.10\n"}
    with run_dns(folder, _program("named"), zones) as port:
        yield [f"dig -p {port} @127.0.0.1 web.lab.example"]


def show_connection(target: Target) -> str:
    """The address and the `connection` of an asset that is reached by HTTP."""
    connection = {"type": target.connection, "port": target.port, **target.options}
    return f"ip_address={target.address} connection='{json.dumps(connection)}'"


@contextmanager
def engine(_folder: Path, _count: int) -> Iterator[list[str]]:
    """A Docker engine that knows Debian."""
    with run_engine() as running:
        yield [f"DOCKER_HOST={running.url} docker run --rm {BASE_IMAGE} cat /etc/os-release"]


PARTS: dict[str, Part] = {
    "hosts": hosts,
    "postgres": postgres,
    "redis": redis,
    "mariadb": maria,
    "rabbitmq": rabbitmq,
    "smtp": smtp,
    "http": http,
    "moto": moto,
    "prometheus": prometheus,
    "camera": camera,
    "windows": windows,
    "dns": dns,
    "engine": engine,
}


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()


def _program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert path, f"{name} is not installed: run 'make test-system'"
    return path


def _tell(request: Received) -> Reply:
    print(f"http: {request.method} {request.path} {request.body[:200]!r}")
    return Reply()
