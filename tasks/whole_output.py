"""Output that is too long to stay inline: read as far as parsers may, kept whole as artifacts."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from app.step import Artifact, State, StepResult
from tasks.result import fit_output
from tasks.runners.base import RawOutput
from tasks.scrub import Scrubber

#: How much of standard output a parser is given.
PARSED_BYTES = 4 * 1024 * 1024
KIND = "text"

#: Stores a file under a name: `put(path, name, kind)`.
Put = Callable[[Path, str, str], Artifact]


def read_more(raw: RawOutput) -> RawOutput:
    """The output with as much of its file as a parser is given, whole lines where that is cut."""
    whole = raw.whole.get("stdout")
    if whole is None:
        return raw
    with whole.path.open("rb") as file:
        data = file.read(PARSED_BYTES)
    cut = whole.size_bytes > len(data) or not whole.complete
    end = data.rfind(b"\n") + 1 if cut else 0
    return replace(raw, stdout=data[: end or None], truncated=cut)


def keep_whole(result: StepResult, raw: RawOutput, put: Put, scrub: Scrubber) -> StepResult:
    """The result with an artifact of each stream that is not all in it; they hold no secret."""
    artifacts = []
    for name, path, cut in _cut_streams(result, raw):
        with _scrubbed(path, scrub) as clean:
            artifact = put(clean, f"{name}.txt", KIND)
        artifacts.append(artifact)
        words = "the beginning of it" if cut else "all of it"
        result = replace(
            result,
            summary=f"{result.summary}; {words} is artifact {artifact.id} ({name}, "
            f"{artifact.size_bytes:,} bytes)",
        )
    return replace(result, artifacts=(*result.artifacts, *artifacts))


def keep_output(result: StepResult, put: Put, scrub: Scrubber) -> StepResult:
    """A Python operation's result, its output within the cap; all of it is an artifact then."""
    fitting, cut = fit_output(result.output)
    if not cut:
        return result
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        json.dump(scrub.scrub_value(result.output), file)
    try:
        artifact = put(Path(file.name), "json", "json")
    finally:
        Path(file.name).unlink(missing_ok=True)
    words = f"all of it is artifact {artifact.id} ({artifact.size_bytes:,} bytes)"
    return replace(
        result,
        output=fitting,
        truncated=True,
        artifacts=(*result.artifacts, artifact),
        summary=f"{result.summary} (cut at 256 KiB); {words}",
    )


def _cut_streams(result: StepResult, raw: RawOutput) -> Iterator[tuple[str, Path, bool]]:
    """Name and file of each stream to keep, and whether even the file is cut."""
    failed = result.state is not State.SUCCEEDED
    if result.truncated and "stdout" not in raw.whole and raw.artifact is None:
        with tempfile.NamedTemporaryFile() as file:  # a few rows of text may be many as JSON
            file.write(raw.stdout)
            file.flush()
            yield "stdout", Path(file.name), raw.truncated
    for name, whole in raw.whole.items():
        if failed or result.truncated or name == "stderr":
            yield name, whole.path, not whole.complete


@contextmanager
def _scrubbed(path: Path, scrub: Scrubber) -> Iterator[Path]:
    """A copy without secrets, beside nothing of the original's; gone afterwards if still there."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as sink:
        clean = Path(sink.name)
        try:
            with path.open("rb") as source:
                scrub.scrub_file(source, sink)
        except BaseException:
            clean.unlink()
            raise
    try:
        yield clean
    finally:
        clean.unlink(missing_ok=True)
