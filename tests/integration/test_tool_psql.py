"""psql against a real PostgreSQL: a database, logins and rows of the test's own."""

import secrets
from urllib.parse import urlsplit

import psycopg2
import pytest

from app.admin.servers import find_free_port
from app.step import State
from tool_catalog.model import Reason

OWNER_PASSWORD = '0wner\'s "pass word"'
READER_PASSWORD = "r3ader-pass"


@pytest.fixture(autouse=True)
def _needs_psql(require_program):
    require_program("psql")


@pytest.fixture(scope="module")
def shop(postgres_server):
    """A database with an owner, a login that may only read, and one table: where to connect."""
    name = f"shop_{secrets.token_hex(4)}"
    url = urlsplit(postgres_server.replace("+psycopg2", ""))
    with_admin = {"host": url.hostname, "port": url.port, "user": url.username}
    admin = psycopg2.connect(**with_admin, password=url.password, dbname="postgres")
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create role {name}_owner login password %s", (OWNER_PASSWORD,))
        cursor.execute(f"create role {name}_reader login password %s", (READER_PASSWORD,))
        cursor.execute(f"create database {name} owner {name}_owner")
    login = {"user": f"{name}_owner", "password": OWNER_PASSWORD, "dbname": name}
    owner = psycopg2.connect(host=url.hostname, port=url.port, **login)
    owner.autocommit = True
    with owner.cursor() as cursor:
        cursor.execute("create table orders (id int primary key, item text, price numeric)")
        cursor.execute("create table hidden (id int)")
        cursor.execute("insert into orders values (1, %s, 9.90), (2, null, 10.5)", ("a\nb 'ü' \\",))
        cursor.execute(f"grant select on orders to {name}_reader")
    yield {"host": url.hostname, "port": url.port, "database": name}
    owner.close()
    with admin.cursor() as cursor:
        cursor.execute(f"drop database {name} with (force)")
        cursor.execute(f"drop role {name}_owner, {name}_reader")
    admin.close()


@pytest.fixture
def run(bench, shop):
    def call(operation, given=(), *, role="reader", **where):
        login = {"user": f"{shop['database']}_{role}", "password": {"$secret": "login"}}
        given = {**shop, **login, **dict(given)}
        given = {name: value for name, value in given.items() if value is not None}
        hidden = {"login": READER_PASSWORD if role == "reader" else OWNER_PASSWORD}
        return bench.run("psql", operation, given, secrets=hidden, **where).result

    return call


def rows_of(run, sql):
    result = run("query", {"sql": sql}, role="owner")
    assert result.state is State.SUCCEEDED, result.summary
    return result.output


@pytest.mark.proves("psql", "query")
def test_rows_keep_their_types(run):
    result = run("query", {"sql": "select *, id > 1 as late from orders order by id -- all\n;"})
    assert result.state is State.SUCCEEDED
    assert result.output == [
        {"id": 1, "item": "a\nb 'ü' \\", "price": 9.90, "late": False},
        {"id": 2, "item": None, "price": 10.5, "late": True},
    ]


def test_no_more_rows_than_asked_for(run):
    result = run("query", {"sql": "select generate_series(1, 10) as n", "max_rows": 2})
    assert result.output == [{"n": 1}, {"n": 2}]
    assert run("query", {"sql": "select 1 as n where false"}).output == []


@pytest.mark.parametrize(
    "sql",
    [
        "delete from orders",
        "select 1; delete from orders",
        "select 1) q; commit; delete from orders; select (1",
        "with gone as (delete from orders returning id) select * from gone",
        "select set_config('transaction_read_only', 'off', false)",
        "commit",
        "\\! touch /tmp/opsfarm-was-here",
    ],
)
def test_a_query_cannot_change_anything(run, sql):
    result = run("query", {"sql": sql}, role="owner")
    assert (result.state, result.reason) == (State.FAILED, Reason.INVALID_PARAMETER)
    assert rows_of(run, "select count(*) as n from orders") == [{"n": 2}]


def test_a_function_that_writes_is_refused_too(run):
    body = "create function wipe() returns int language sql as 'delete from orders returning 1'"
    assert run("execute", {"sql": body}, role="owner").state is State.SUCCEEDED
    result = run("query", {"sql": "select wipe()"}, role="owner")
    assert result.reason is Reason.INVALID_PARAMETER
    assert "a query only reads, and this does DELETE" in result.summary


@pytest.mark.proves("psql", "databases")
def test_databases_with_owner_and_size(run, shop):
    [row] = [row for row in run("databases").output if row["name"] == shop["database"]]
    assert (row["owner"], row["encoding"]) == (f"{shop['database']}_owner", "UTF8")
    assert row["size_bytes"] > 1_000_000
    assert row["connections"] >= 1


@pytest.mark.proves("psql", "tables")
def test_tables_of_a_schema(run):
    run("execute", {"sql": "analyze orders"}, role="owner")
    found = {row["name"]: row for row in run("tables", {"schema": "public"}).output}
    assert found["orders"]["rows"] == 2
    assert found["orders"]["size_bytes"] >= found["hidden"]["size_bytes"]
    assert run("tables", {"schema": "it's not there"}).output == []
    assert {row["name"] for row in run("tables").output} == {"orders", "hidden"}


@pytest.mark.proves("psql", "activity")
def test_who_is_connected(run, shop):
    marked = {"application_name": "planted-client", "options": "-c statement_timeout=77s"}
    login = {"user": f"{shop['database']}_owner", "password": OWNER_PASSWORD}
    where = {"host": shop["host"], "port": shop["port"], "dbname": shop["database"]}
    client = psycopg2.connect(**where, **login, **marked)
    with client.cursor() as cursor:
        cursor.execute("select 'planted statement'")
    rows = run("activity", role="owner").output
    client.close()
    [row] = [row for row in rows if row["application"] == "planted-client"]
    assert row["state"] == "idle in transaction"
    assert row["query"] == "select 'planted statement'"
    assert (row["client"], row["blocked_by"]) == ("127.0.0.1", [])
    assert row["since"].endswith("Z")


@pytest.mark.proves("psql", "execute")
def test_a_statement_changes_rows(run):
    sql = "create table done (n int); insert into done values (1), (2); update done set n = n + 40"
    result = run("execute", {"sql": f"-- why\n{sql}"}, role="owner")
    assert result.state is State.SUCCEEDED
    assert result.output.split("\n")[-2] == "UPDATE 2"
    assert rows_of(run, "select n from done order by n") == [{"n": 41}, {"n": 42}]


def test_several_statements_are_done_whole_or_not_at_all(run):
    sql = "insert into orders values (3, 'x', 1); insert into orders values (1, 'twice', 1)"
    result = run("execute", {"sql": sql}, role="owner")
    assert (result.state, result.reason) == (State.FAILED, Reason.CONFLICT)
    assert "orders_pkey" in result.summary
    assert rows_of(run, "select count(*) as n from orders") == [{"n": 2}]


@pytest.mark.parametrize(
    ("given", "reason", "says"),
    [
        ({"sql": "select * from nosuch"}, Reason.NOT_FOUND, 'relation "nosuch" does not exist'),
        ({"sql": "select * from hidden"}, Reason.NO_PRIVILEGE, "may not use table hidden"),
        ({"sql": "selec 1"}, Reason.INVALID_PARAMETER, "syntax error"),
        ({"sql": "select 1", "database": "nosuch"}, Reason.NOT_FOUND, "no database nosuch"),
        ({"sql": "select 1", "host": "nosuch.invalid"}, Reason.NOT_FOUND, "nosuch.invalid"),
        ({"sql": "select 1", "password": None}, Reason.AUTH_FAILED, "give it as the secret"),
        (
            {"sql": "select pg_sleep(20)", "statement_timeout_s": 1},
            Reason.TIMEOUT,
            "ended the statement after 1 s",
        ),
    ],
)
def test_what_the_server_refuses(run, given, reason, says):
    result = run("query", given)
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert says in result.summary


def test_a_wrong_password_names_the_login(bench, run, shop):
    given = {**shop, "user": "postgres", "password": {"$secret": "x"}, "sql": "select 1"}
    result = bench.run("psql", "query", given, secrets={"x": "wr0ng"}).result
    assert (result.reason, "postgres" in result.summary) == (Reason.AUTH_FAILED, True)
    assert "wr0ng" not in result.summary


def test_where_no_server_is(run):
    result = run("databases", {"port": find_free_port()})
    assert (result.reason, result.transient) == (Reason.UNREACHABLE, True)
    assert "Connection refused" in result.summary


def test_over_ssh_too(run, sshd):
    where = {"target": sshd.target, "credential": sshd.credential}
    result = run("query", {"sql": "select item from orders where id = 1"}, **where)
    assert (result.state, result.output) == (State.SUCCEEDED, [{"item": "a\nb 'ü' \\"}])
