"""Fixtures of the whole suite: a real PostgreSQL and a real Redis, from the wheels."""

import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from app.admin.servers import find_free_port, start_postgres, start_redis
from app.store.db import make_engine, migrate
from tests.lab.engine import another_runs, run_engine
from tests.lab.host import Hosts
from tests.lab.mariadb import run_mariadb
from tests.lab.moto import run_moto
from tests.lab.rabbitmq import run_rabbitmq
from tests.lab.warden import guarded

# A suite that is started in the background inherits an ignored SIGINT, and so would everything
# that it starts; the tests send that signal on purpose.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def warden():
    """Nothing that a test starts outlives the tests, however they end."""
    with guarded() as warden:
        yield warden


@pytest.fixture(scope="session")
def server_folder(warden):
    """A short path that PostgreSQL's own user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="opsfarm-test-"))
    folder.chmod(0o755)
    warden.remove(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(server_folder):
    """URL of an empty cluster's maintenance database; fsync off, it is thrown away."""
    server = start_postgres(
        server_folder / "pg",
        find_free_port(),
        "test-password",
        ["fsync=off", "max_connections=200"],
    )
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def redis_server(server_folder):
    server = start_redis(server_folder / "redis", find_free_port(), "test-password")
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def mariadb_server(server_folder, require_program):
    """A `tests.lab.mariadb.MariaDb` that all tests of this process share."""
    folder = server_folder / "mariadb"
    folder.mkdir()
    with run_mariadb(folder, require_program("mariadbd")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(server_folder, require_program):
    """The URL of a RabbitMQ that all tests of this process share."""
    require_program("rabbitmqctl")
    folder = server_folder / "rabbitmq"
    folder.mkdir()
    with run_rabbitmq(folder, require_program("epmd")) as url:
        yield url


@pytest.fixture(scope="session")
def moto_server(server_folder):
    """The AWS_ENDPOINT_URL of an AWS that all tests of this process share."""
    with run_moto(server_folder) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch):
    """A test sees the settings it sets, not those of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("OPSFARM_", "SMTP_", "SLACK_", "TEAMS_")) or name == "DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def template_database(postgres_server):
    """A migrated database that each test copies."""
    engine = make_engine(postgres_server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("create database opsfarm_template")
    engine.dispose()
    url = postgres_server.rsplit("/", 1)[0] + "/opsfarm_template"
    template = make_engine(url)
    migrate(template)
    template.dispose()
    return url


@pytest.fixture
def database_url(template_database, postgres_server):
    """URL of a fresh migrated database of this test's own."""
    name = f"test_{secrets.token_hex(6)}"
    admin = make_engine(postgres_server)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"create database {name} template opsfarm_template")
    yield postgres_server.rsplit("/", 1)[0] + f"/{name}"
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"drop database {name} with (force)")
    admin.dispose()


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def autocommit(database_url):
    """The engine that the ledger's classes take: every statement by itself."""
    engine = make_engine(database_url, autocommit=True)
    yield engine
    engine.dispose()


def unavailable(what):
    """Skip on a laptop, fail in CI, which must have everything."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI must not lack it")
    pytest.skip(what)


@pytest.fixture(scope="session")
def require_program():
    """`require_program("nmap")`: its path; skips on a laptop without it, fails in CI."""

    def find(name):
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        return path or unavailable(f"{name} is not installed")

    return find


@pytest.fixture(scope="session")
def require_root():
    """What follows needs root: skips on a laptop, fails in CI."""
    if os.geteuid() != 0:
        unavailable("needs root")


@pytest.fixture(scope="session")
def require_systemd_hosts(require_root, require_program):
    """What follows boots hosts: skips on a laptop that cannot, fails in CI."""
    for program in ("debootstrap", "systemd-nspawn", "unshare", "nsenter", "ip"):
        require_program(program)


@pytest.fixture(scope="session")
def systemd_host(require_systemd_hosts):
    """A `tests.lab.host.Host` that all tests of this process share: leave it as it was."""
    with Hosts() as hosts:
        yield hosts.start("lab-01")[0]


@pytest.fixture
def make_systemd_hosts(require_systemd_hosts):
    """`make_systemd_hosts(4)`: fresh hosts of this test's own, half a second for all."""
    with Hosts() as hosts:
        yield lambda count, stem="web": hosts.start(*_names(stem, count))


@pytest.fixture(scope="module")
def make_module_hosts(require_systemd_hosts):
    """As `make_systemd_hosts`, for all tests of a file together."""
    with Hosts() as hosts:
        yield lambda count, stem="web": hosts.start(*_names(stem, count))


@pytest.fixture(scope="session")
def require_docker_engine(require_root, require_program):
    """What follows starts a Docker engine: skips on a laptop that cannot, fails in CI."""
    for program in ("debootstrap", "dockerd", "docker", "iptables-save", "unshare", "ip"):
        require_program(program)
    if another_runs():
        unavailable("another Docker engine holds this machine's packet filter")


@pytest.fixture(scope="module")
def docker_engine(require_docker_engine):
    """A `tests.lab.engine.Engine` of this file's own; other processes wait for their turn."""
    with run_engine() as engine:
        yield engine


def _names(stem, count):
    return [f"{stem}-{number:02}" for number in range(1, count + 1)]
