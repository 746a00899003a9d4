"""``edgecnn stream``: what a camera sees, within a deadline."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgecnn.cli._options import (
    artifact_argument,
    contract_options,
    force_option,
    labels_option,
    open_artifact,
    runtime_option,
    threads_option,
)
from edgecnn.cli._output import common_options

if TYPE_CHECKING:
    from edgecnn.artifact import Artifact
    from edgecnn.stream import Stream, Wanted
    from edgecnn.stream.sinks import Existing, Sink


@click.command(short_help="What a camera sees, within a deadline.")
@artifact_argument
@click.option(
    "--source",
    required=True,
    metavar="0|/dev/videoN|picamera|FILE|FOLDER|URL|-",
    help="A camera, a Raspberry Pi's camera, a video, images, a stream (rtsp, http, tcp, ...), or "
    "raw frames from standard input.",
)
@click.option("--budget-ms", type=float, help="How old a frame may be at its result.")
@click.option(
    "--percentile", type=float, default=95.0, show_default=True, help="Of the frames keep it."
)
@click.option(
    "--fallback",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="A smaller file that takes over when the budget is broken. Repeatable, large to small.",
)
@click.option(
    "--patience", "patience_s", type=float, default=2.0, show_default=True, metavar="SECONDS",
    help="Step down where the budget is broken over so long.",
)  # fmt: skip
@click.option(
    "--recover", "recover_s", type=float, default=30.0, show_default=True, metavar="SECONDS",
    help="Step up where there was time for it so long.",
)  # fmt: skip
@click.option(
    "--every-frame", is_flag=True, help="Every frame of a file, as fast as it goes; none is lost."
)
@click.option("--size", metavar="WIDTHxHEIGHT", help="To ask the camera for, or of raw frames.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="To ask for, or to play at.")
@click.option("--pixel-format", metavar="FOURCC", help="Such as MJPG, YUYV; of raw frames RGB3.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=5.0,
    show_default=True, metavar="SECONDS", help="A source is lost where nothing comes for so long.",
)  # fmt: skip
@click.option(
    "--frozen-after", "frozen_after_s", type=click.FloatRange(0), default=2.0, show_default=True,
    metavar="SECONDS", help="A camera that repeats one picture for so long is frozen; 0: never.",
)  # fmt: skip
@click.option(
    "--smooth", "smooth_s", type=click.FloatRange(0), default=0.0, show_default=True,
    metavar="SECONDS", help="Time constant over which scores are smoothed.",
)  # fmt: skip
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Classes shown.")
@click.option(
    "--to",
    "sinks",
    multiple=True,
    metavar="FILE.jsonl|FILE.csv|FILE.mp4|mqtt://HOST/TOPIC",
    help="Where results go. Repeatable.",
)
@click.option("--serve", metavar="HOST:PORT", help="Show a page there, such as 127.0.0.1:8080.")
@click.option(
    "--token",
    envvar="EDGECNN_TOKEN",
    help="With --serve: what viewers of the page have to know.  [env: EDGECNN_TOKEN]",
)
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
@click.option("--frames", type=click.IntRange(1), help="End after so many results.")
@click.option("--append", is_flag=True, help="Go on in existing files, as a service does.")
@runtime_option
@threads_option
@labels_option
@contract_options
@force_option
@common_options
def command(
    artifact: Path,
    source: str,
    fallback: tuple[Path, ...],
    sinks: tuple[str, ...],
    serve: str | None,
    token: str | None,
    seconds: float | None,
    frames: int | None,
    append: bool,
    force: bool,
    as_json: bool,
    labels: Path | None,
    **given: Any,
) -> None:
    """Say what a source shows, the newest frame each time, with ARTIFACT.

    Frame age is the time from capture to result. With --budget-ms the stream ends with a verdict
    (exit code 4 where it was broken), and with --fallback smaller files take over while the budget
    cannot be kept. Labels and preprocessing are the artifact's own.

    With --json: one object a line, for each frame, each event, and one summary. Ctrl-C or SIGTERM
    end the stream after the frame at hand; files are complete then.
    """
    from edgecnn.cli import _stream_view
    from edgecnn.stream.systemd import Notifier

    _check_token(serve)
    files = [_with_labels(path, labels, given) for path in (artifact, *fallback)]
    notifier = Notifier()
    view = None if as_json else _stream_view.view(every_frame=given["every_frame"])
    existing: Existing = "append" if append else "replace" if force else "refuse"
    found = _sinks((*(["-"] if as_json else []), *sinks), existing)
    found += _pages(serve, token)
    stream = _stream(files, source, [*found, *([] if view is None else [view])], given,
                     notifier.beat)  # fmt: skip
    with _ended_by_signals(stream) as interrupted, stream:
        notifier.ready(stream.about.source)
        _tell_addresses(found)
        _run(stream, seconds, frames)
        notifier.stopping()
    summary = stream.summary
    if not as_json:
        _stream_view.print_summary(summary)
    _judge(summary.passed, interrupted())


def _check_token(serve: str | None) -> None:
    """Refuse a token for a page that is not served; in the environment it may wait for one."""
    from edgecnn.errors import UsageError

    source = click.get_current_context().get_parameter_source("token")
    if serve is None and source is ParameterSource.COMMANDLINE:
        raise UsageError("--token is for viewers of the page: pass --serve HOST:PORT, too.")


def _with_labels(path: Path, labels: Path | None, given: dict[str, Any]) -> "Artifact":
    """Open an artifact; its classes need names."""
    from edgecnn.errors import ArtifactError

    names = ("mean", "std", "crop_pct", "interpolation")
    found = open_artifact(path, labels=labels, **{name: given[name] for name in names})
    if not found.required_contract().output.labels:
        raise ArtifactError(f"{path}: its classes have no names; pass --labels, one per line.")
    return found


def _sinks(texts: tuple[str, ...], existing: "Existing") -> "list[Sink]":
    from edgecnn.stream import sinks

    return [sinks.make(text, existing) for text in texts]


def _pages(serve: str | None, token: str | None) -> "list[Sink]":
    from edgecnn.stream.page import Page
    from edgecnn.stream.page.address import Address

    return [] if serve is None else [Page(Address.parse(serve, token))]


def _stream(
    files: "list[Artifact]", source: str, sinks: "list[Sink]", given: dict[str, Any], beat: Any
) -> "Stream":
    from edgecnn.stream import Budget, Stream

    limit_ms, runtime = given["budget_ms"], given["runtime"]
    budget = None
    if limit_ms is not None:
        budget = Budget(limit_ms, given["percentile"], given["patience_s"], given["recover_s"])
    return Stream(
        files[0],
        source,
        fallback=files[1:],
        runtime=None if runtime == "auto" else runtime,
        threads=given["threads"],
        budget=budget,
        wanted=_wanted(given),
        every_frame=given["every_frame"],
        smooth_s=given["smooth_s"],
        frozen_after_s=given["frozen_after_s"],
        top=given["top"],
        sinks=sinks,
        beat=beat,
    )


def _wanted(given: dict[str, Any]) -> "Wanted":
    from edgecnn.stream import Wanted

    size = None if given["size"] is None else _size(given["size"])
    return Wanted(size, given["fps"], given["pixel_format"], timeout_s=given["timeout_s"])


def _size(text: str) -> tuple[int, int]:
    from edgecnn.errors import UsageError

    found = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text)
    if found is None:
        raise UsageError(f"--size {text!r}: allowed: WIDTHxHEIGHT, such as 640x480.")
    return int(found[1]), int(found[2])


def _tell_addresses(sinks: "list[Sink]") -> None:
    from edgecnn.stream.page import Page

    for sink in sinks:
        if isinstance(sink, Page):
            click.echo(f"page: {sink.address}", err=True)


def _run(stream: "Stream", seconds: float | None, frames: int | None) -> None:
    from time import monotonic

    end = None if seconds is None else monotonic() + seconds
    for count, _ in enumerate(stream, 1):
        if count == frames or (end is not None and monotonic() >= end):
            return


@contextmanager
def _ended_by_signals(stream: "Stream") -> Iterator[Any]:
    """End the stream in the usual way on Ctrl-C and SIGTERM; the second Ctrl-C at once."""
    found: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if found:
            raise KeyboardInterrupt
        found.append(number)
        stream.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: signal.SIGINT in found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _judge(passed: bool | None, interrupted: bool) -> None:
    from edgecnn.errors import VerdictError

    if passed is False:
        raise VerdictError("the budget was broken.")
    if interrupted:
        raise KeyboardInterrupt
