"""aws-s3 against moto, a server that speaks S3 on loopback, with buckets of the test's own."""

import secrets

import boto3
import pytest
from botocore.config import Config

from app.admin.servers import find_free_port
from app.step import State
from tool_catalog.model import Reason

SECRET = "planted/secret+key0123456789"


@pytest.fixture(autouse=True)
def _needs_aws(require_program):
    require_program("aws")


@pytest.fixture
def s3(moto_server):
    login = {"aws_access_key_id": "AKIDPLANTED", "aws_secret_access_key": SECRET}
    config = Config(retries={"max_attempts": 0})
    where = {"endpoint_url": moto_server, "region_name": "us-east-1", "config": config}
    client = boto3.client("s3", **where, **login)
    yield client
    client.close()


@pytest.fixture
def bucket(s3):
    """The name of a bucket with two objects."""
    name = f"planted-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="logs/a.txt", Body=b"first", ContentType="text/plain")
    s3.put_object(Bucket=name, Key="logs/b ü'.bin", Body=b"\0second\xff")
    return name


@pytest.fixture
def ran(bench, moto_server):
    def call(operation, given=(), **more):
        login = {"access_key_id": "AKIDPLANTED", "secret_access_key": {"$secret": "key"}}
        given = {"endpoint": moto_server, **login, **dict(given)}
        return bench.run("aws-s3", operation, given, secrets={"key": SECRET}, **more)

    return call


@pytest.fixture
def run(ran):
    return lambda operation, given=(), **more: ran(operation, given, **more).result


def names(s3):
    return {each["Name"] for each in s3.list_buckets()["Buckets"]}


@pytest.mark.proves("aws-s3", "buckets")
def test_a_planted_bucket_is_listed(run, bucket):
    result = run("buckets")
    assert result.state is State.SUCCEEDED, result.summary
    [row] = [row for row in result.output if row["name"] == bucket]
    assert row["created"].endswith("Z")


@pytest.mark.proves("aws-s3", "list")
def test_objects_of_a_bucket(run, bucket, s3):
    result = run("list", {"bucket": bucket})
    assert (result.state, result.output["more"]) == (State.SUCCEEDED, False)
    sizes = {each["key"]: each["size_bytes"] for each in result.output["objects"]}
    assert sizes == {"logs/a.txt": 5, "logs/b ü'.bin": 8}
    one = run("list", {"bucket": bucket, "max_objects": 1, "prefix": "logs/"}).output
    assert ([each["key"] for each in one["objects"]], one["more"]) == (["logs/a.txt"], True)
    assert run("list", {"bucket": bucket, "prefix": "none/"}).output == {
        "objects": [],
        "more": False,
    }


@pytest.mark.proves("aws-s3", "head")
def test_an_object_is_described(run, bucket):
    output = run("head", {"bucket": bucket, "key": "logs/a.txt"}).output
    assert (output["size_bytes"], output["type"], output["metadata"]) == (5, "text/plain", {})


@pytest.mark.proves("aws-s3", "get")
def test_an_object_is_fetched_byte_for_byte(ran, bucket):
    done = ran("get", {"bucket": bucket, "key": "logs/b ü'.bin"})
    assert (done.result.exit_code, *done.kept.files.values()) == (0, b"\0second\xff")


@pytest.mark.proves("aws-s3", "put")
def test_an_artifact_is_stored_and_twice_is_as_once(run, bucket, s3, tmp_path):
    (tmp_path / "dump").write_bytes(b"\x00\x01" * 5000)
    given = {"bucket": bucket, "key": "dumps/x", "file": {"$artifact": "a1"}}
    for _ in range(2):
        result = run("put", given, artifacts={"a1": tmp_path / "dump"})
        assert result.state is State.SUCCEEDED, result.summary
        assert s3.get_object(Bucket=bucket, Key="dumps/x")["Body"].read() == b"\x00\x01" * 5000


@pytest.mark.proves("aws-s3", "write")
def test_a_text_is_stored_and_twice_is_as_once(run, bucket, s3):
    given = {"bucket": bucket, "key": "status", "text": "all 'is' wéll\n"}
    assert [run("write", given).state for _ in range(2)] == [State.SUCCEEDED] * 2
    stored = s3.get_object(Bucket=bucket, Key="status")
    assert stored["Body"].read().decode() == "all 'is' wéll\n"
    assert stored["ContentType"] == "text/plain; charset=utf-8"


@pytest.mark.proves("aws-s3", "remove")
def test_an_object_is_removed_and_twice_is_as_once(run, bucket, s3):
    given = {"bucket": bucket, "key": "logs/b ü'.bin", "confirm": True}
    assert [run("remove", given).state for _ in range(2)] == [State.SUCCEEDED] * 2
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["logs/a.txt"]


@pytest.mark.proves("aws-s3", "make_bucket")
@pytest.mark.proves("aws-s3", "remove_bucket")
def test_a_bucket_comes_and_goes(run, s3):
    name = f"made-{secrets.token_hex(6)}"
    made = run("make_bucket", {"bucket": name, "region": "eu-west-1"})
    assert (made.state, name in names(s3)) == (State.SUCCEEDED, True)
    again = run("make_bucket", {"bucket": name, "region": "eu-west-1"})
    assert (again.reason, name in again.summary) == (Reason.CONFLICT, True)
    gone = run("remove_bucket", {"bucket": name, "confirm": True, "region": "eu-west-1"})
    assert (gone.state, name in names(s3)) == (State.SUCCEEDED, False)


def test_a_bucket_that_was_made_is_looked_for(bench, s3, moto_server):
    name = f"made-{secrets.token_hex(6)}"
    login = {"access_key_id": "AKIDPLANTED", "secret_access_key": {"$secret": "key"}}
    given = {"endpoint": moto_server, "bucket": name, **login}
    for operation, more in (("make_bucket", {}), ("remove_bucket", {"confirm": True})):
        done = bench.run("aws-s3", operation, {**given, **more}, secrets={"key": SECRET})
        assert done.result.state is State.SUCCEEDED, done.result.summary
        assert len(done.kept.armed) == 1
        assert (name in names(s3)) is (operation == "make_bucket")


def test_a_bucket_with_objects_stays(run, bucket, s3):
    result = run("remove_bucket", {"bucket": bucket, "confirm": True})
    assert (result.state, result.reason) == (State.FAILED, Reason.CONFLICT)
    assert bucket in names(s3)


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("list", {}),
        ("head", {"key": "x"}),
        ("get", {"key": "x"}),
        ("write", {"key": "x", "text": "y"}),
        ("remove_bucket", {"confirm": True}),
    ],
)
def test_a_bucket_that_is_not_there(run, operation, given):
    result = run(operation, {"bucket": "no-such-bucket-here", **given})
    assert (result.state, result.reason) == (State.FAILED, Reason.NOT_FOUND)
    assert "no-such-bucket-here" in result.summary


def test_an_object_that_is_not_there(run, bucket):
    result = run("get", {"bucket": bucket, "key": "nosuch"})
    assert (result.reason, "no object nosuch" in result.summary) == (Reason.NOT_FOUND, True)


def test_an_endpoint_where_nobody_answers(run):
    result = run("buckets", {"endpoint": f"http://127.0.0.1:{find_free_port()}"})
    assert (result.reason, result.transient) == (Reason.UNREACHABLE, True)
