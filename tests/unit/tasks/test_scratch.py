"""What a killed worker left in its scratch folder is removed; what a living one has is not."""

import multiprocessing
import os
import signal

import pytest

from app.config import read_settings
from tasks.scratch import Scratch, scratch_folder


@pytest.fixture
def settings(tmp_path):
    return read_settings(state_dir=tmp_path)


def work(settings, ready):
    """A worker in a process of its own: takes its folder, leaves a file there, stays."""
    Scratch(settings).hold()
    (scratch_folder(settings) / "half.pcap").write_text("half")
    ready.send(str(scratch_folder(settings)))
    signal.pause()


@pytest.fixture
def other(settings, tmp_path):
    """Another worker that lives: (its process, its folder)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(settings, theirs))
    process.start()
    assert ours.poll(30)
    yield process, tmp_path / ours.recv()
    process.kill()
    process.join()
    process.close()
    ours.close()
    theirs.close()


def test_what_a_living_worker_has_stays_and_a_killed_one_s_goes(settings, other):
    process, folder = other
    scratch = Scratch(settings)
    scratch.hold()
    assert [path.name for path in folder.iterdir()] == ["half.pcap"]
    process.kill()
    process.join()
    scratch.close()
    assert folder.exists()
    Scratch(settings).hold()
    assert not folder.exists()
    assert scratch_folder(settings).exists()


def test_what_is_not_a_worker_s_stays(settings, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("status.json", "worker-notes.txt"):
        (tmp_path / "run" / name).write_text("{}")
    scratch = Scratch(settings)
    scratch.hold()
    scratch.close()
    left = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert left == ["status.json", "worker-notes.txt"]


def test_a_folder_is_this_process_s_own(settings):
    assert scratch_folder(settings).name.endswith(f"-{os.getpid()}")
    assert "/" not in scratch_folder(settings.model_copy(update={"host": "a/b"})).name
