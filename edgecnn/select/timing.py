"""Measuring the candidates of a selection in turns, where no earlier one did today."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

from edgecnn import measure, runtimes
from edgecnn.choice import Row
from edgecnn.comparison import Candidate
from edgecnn.environment import Environment
from edgecnn.errors import DataError, one_line
from edgecnn.host import Host
from edgecnn.hosted import ask_once
from edgecnn.profile import MeasuredKey, Profile
from edgecnn.select.kept import safe_name
from edgecnn.select.making import Made
from edgecnn.select.request import Progress, Request

GROUP = 4
"""Candidates measured in turns at a time: each is a process with a model in memory."""


def measured(request: Request, host: Host, made: Sequence[Made], report: Progress) -> Iterator[Row]:
    """Yield the rows of all candidates, with latencies."""
    formats = sorted({one.row.format for one in made if one.artifact is not None})
    available = {name: available_runtimes(request, host, name) for name in formats}
    candidates = {id(one): _candidates(request, one, available) for one in made}
    wanted = [candidate for found in candidates.values() for candidate in found]
    profiles, problems = _profiles(request, host, wanted, report)
    for one in made:
        for candidate in candidates[id(one)]:
            key = candidate.key
            yield _timed_row(request, one.row, candidate, profiles.get(key), problems.get(key))
        if not candidates[id(one)]:
            problem = one.row.problem or f"no runtime here or asked for opens {one.row.format}"
            yield replace(one.row, problem=problem)


def available_runtimes(request: Request, host: Host, format_name: str) -> list[str]:
    """Return the runtimes that can time a format on the device."""
    found = ask_once(host, "availability", device=str(request.device.there), format=format_name)
    return [name for name, problem in found.items() if not problem and runtimes.get(name).timed]


def _profiles(
    request: Request, host: Host, wanted: Sequence[Candidate], report: Progress
) -> tuple[dict[MeasuredKey, Profile], dict[MeasuredKey, str]]:
    """Measure in groups what no earlier selection has measured; each profile is saved at once."""
    now = {name: environment(host, name) for name in sorted({c.runtime for c in wanted})}
    earlier = {c.key: _earlier(request, c, now[c.runtime]) for c in wanted}
    profiles = {key: profile for key, profile in earlier.items() if profile is not None}
    pending = [candidate for candidate in wanted if candidate.key not in profiles]
    problems: dict[MeasuredKey, str] = {}
    for start in range(0, len(pending), GROUP):
        group = pending[start : start + GROUP]
        report(f"measuring {', '.join(sorted({c.runtime for c in group}))}", start, len(pending))
        comparison = measure.interleave(group, request.plan, host=host)
        for profile in comparison.profiles:
            profile.save(_profile_path(request, profile.key))
            profiles[profile.key] = profile
        problems |= {
            f.candidate.key: f"not measured: {one_line(f.error)}" for f in comparison.failures
        }
        if comparison.interrupted:
            raise KeyboardInterrupt
    return profiles, problems


def environment(host: Host, runtime: str) -> Environment:
    """Return the machine as it is now, with the versions of a runtime."""
    return Environment.from_dict(ask_once(host, "environment", runtime=runtime))


def _candidates(
    request: Request, made: Made, available: Mapping[str, list[str]]
) -> list[Candidate]:
    artifact = made.artifact
    if artifact is None or made.row.problem is not None:
        return []
    reading = runtimes.reading(artifact.format)
    names = [name for name in request.runtimes if name in reading] or (
        [] if request.runtimes else available[artifact.format]
    )
    return [
        Candidate(artifact, name, request.device, threads)
        for name, threads in product(names, request.threads)
        if request.times(made.row, name, threads)
    ]


def _earlier(request: Request, candidate: Candidate, now: Environment) -> Profile | None:
    """Return today's complete profile of the candidate on this machine, if there is one."""
    path = _profile_path(request, candidate.key)
    if request.fresh or not path.is_file():
        return None
    try:
        profile = Profile.load(path)
    except DataError:
        # Damaged, or of another version: it is measured again.
        return None
    same = profile.environment.fingerprint == now.fingerprint
    today = profile.measured_at[:10] == datetime.now(UTC).date().isoformat()
    return profile if same and today and profile.complete else None


def _profile_path(request: Request, key: MeasuredKey) -> Path:
    sha256, runtime, device, threads = key
    return (
        request.work / "profiles" / f"{sha256[:16]}-{runtime}-{safe_name(device)}-t{threads}.json"
    )


def _timed_row(
    request: Request,
    row: Row,
    candidate: Candidate,
    profile: Profile | None,
    problem: str | None,
) -> Row:
    row = replace(row, runtime=candidate.runtime, threads=candidate.threads, problem=problem)
    known = {one.place: one.latency_ms for one in request.finalists}
    row = replace(row, predicted_ms=known.get(row.place))
    if profile is None:
        return row
    latency = profile.latency
    return replace(
        row,
        latency_ms=latency.p95,
        latency_kind="measured",
        p50_ms=latency.p50,
        peak_rss_bytes=profile.peak_rss_bytes,
    )
