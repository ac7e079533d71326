"""What a command prints, however it arrives."""

from hypothesis import given
from hypothesis import strategies as st

from app.command import Command
from tasks.runners import output
from tasks.runners.output import HEAD_BYTES, LINE_BYTES, Outputs, Stream, open_outputs

chunks = st.lists(st.binary(max_size=30))


@given(pieces=chunks)
def test_lines_do_not_depend_on_how_they_arrive(pieces):
    seen = []
    stream = Stream("stdout", lambda name, text: seen.append((name, text)))
    for piece in pieces:
        stream.feed(piece)
    stream.finish()
    whole = b"".join(pieces)
    expected = [line.decode(errors="replace").rstrip("\r") for line in whole.split(b"\n")]
    assert [text for _, text in seen] == (
        expected if whole[-1:] not in {b"\n", b""} else expected[:-1]
    )
    assert stream.head == whole
    assert not stream.truncated


@given(line=st.integers(1, 400), count=st.integers(0, 3000))
def test_head_and_tail_are_whole_lines(line, count):
    stream = Stream("stdout", lambda *_: None)
    text = (b"x" * line + b"\n") * count
    for start in range(0, len(text), 65536):
        stream.feed(text[start : start + 65536])
    assert len(stream.head) <= HEAD_BYTES
    assert stream.truncated == (len(text) > HEAD_BYTES)
    for kept in (stream.head, stream.tail):
        assert text.startswith(kept)
        assert kept == b"" or kept.endswith(b"\n")


def test_one_long_line_is_kept_as_far_as_it_fits():
    seen = []
    stream = Stream("stderr", lambda name, text: seen.append((name, len(text))))
    stream.feed(b"x" * (HEAD_BYTES + 10))
    stream.feed(b"y\n")
    assert stream.head == b"x" * HEAD_BYTES
    assert stream.tail.endswith(b"xy\n")
    assert seen == [("stderr", LINE_BYTES)]


def test_nothing_is_nothing():
    raw = Outputs(lambda *_: None).collect()
    assert (raw.stdout, raw.stderr, raw.stdout_tail, raw.truncated) == (b"", b"", b"", False)


def test_an_artifact_takes_standard_output_up_to_its_cap(tmp_path):
    command = Command(kind="argv", argv=("x",), artifact="pcap", artifact_max_bytes=5)
    outputs = open_outputs(command, tmp_path / "new", lambda *_: None)
    outputs.feed("stdout", b"abc")
    assert not outputs.full
    outputs.feed("stdout", b"defg")
    assert outputs.full
    outputs.feed("stderr", b"note")
    raw = outputs.collect()
    assert raw.artifact.read_bytes() == b"abcde"
    assert (raw.artifact_bytes, raw.stderr, raw.stdout) == (5, b"note", b"")


def test_a_discarded_artifact_leaves_no_file(tmp_path):
    command = Command(kind="argv", argv=("x",), artifact="pcap")
    outputs = open_outputs(command, tmp_path, lambda *_: None)
    outputs.feed("stdout", b"abc")
    outputs.discard()
    assert list(tmp_path.iterdir()) == []


def kept_whole(tmp_path, **members):
    command = Command(kind="argv", argv=("x",), keeps_whole=True, **members)
    return open_outputs(command, tmp_path / "scratch", lambda *_: None)


@given(sizes=st.lists(st.integers(1, HEAD_BYTES), min_size=1, max_size=6))
def test_a_stream_beyond_its_head_is_in_a_file_from_its_first_byte(tmp_path_factory, sizes):
    outputs = kept_whole(tmp_path_factory.mktemp("whole"))
    text = b"".join(bytes([97 + number]) * size for number, size in enumerate(sizes))
    at = 0
    for size in sizes:
        outputs.feed("stderr", text[at : at + size])
        at += size
    raw = outputs.collect()
    assert set(raw.whole) == ({"stderr"} if len(text) > HEAD_BYTES else set())
    for whole in raw.whole.values():
        assert whole.path.read_bytes() == text
        assert (whole.size_bytes, whole.complete) == (len(text), True)


def test_what_is_beyond_the_cap_of_a_file_is_dropped_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "WHOLE_BYTES", HEAD_BYTES + 5)
    outputs = kept_whole(tmp_path)
    outputs.feed("stdout", b"x" * (HEAD_BYTES + 9))
    [whole] = outputs.collect().whole.values()
    assert (whole.path.stat().st_size, whole.complete) == (HEAD_BYTES + 5, False)


def test_nothing_is_kept_where_nobody_will_take_it(tmp_path):
    outputs = open_outputs(Command(kind="argv", argv=("x",)), tmp_path, lambda *_: None)
    outputs.feed("stdout", b"x" * HEAD_BYTES * 2)
    assert outputs.collect().whole == {}
    discarded = kept_whole(tmp_path)
    discarded.feed("stdout", b"x" * HEAD_BYTES * 2)
    discarded.discard()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_full_disk_ends_the_file_and_not_the_command(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.ArtifactFile, "feed", refuse)
    outputs = kept_whole(tmp_path)
    outputs.feed("stdout", b"x" * HEAD_BYTES * 2)
    outputs.feed("stdout", b"end\n")
    raw = outputs.collect()
    assert (raw.whole, raw.truncated) == ({}, True)
    assert raw.stdout_tail.endswith(b"end\n")
    assert list((tmp_path / "scratch").iterdir()) == []
