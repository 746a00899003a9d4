"""Searches that share a PostgreSQL server: workers that die, a server that goes away."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import postgres
import pytest
from search_worker import QUICK, check_account, goal, start, top1, wait_for

from edgecnn.errors import UnavailableError
from edgecnn.search import Budget, Sampling, Study
from edgecnn.spec import ModelSpec

pytestmark = [pytest.mark.slow, pytest.mark.alone]
pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def url(server: postgres.Postgres) -> Iterator[str]:
    """The server, with nothing in it."""
    server.empty()
    yield server.url


def test_two_workers_one_killed_nothing_lost(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    doomed, other = start(url, 12, log, 0.3), start(url, 12, log, 0.3)
    wait_for(lambda: log.exists() and _lines(log, doomed.pid).count("begin") == 3)
    doomed.kill()
    doomed.wait()
    began = [line.split() for line in log.read_text().splitlines()]
    lost = [name for pid, what, name in began if pid == str(doomed.pid) and what == "begin"][-1]
    assert other.wait(120) == 0
    check_account(url, log, 12, lost)
    assert len({line.split()[0] for line in log.read_text().splitlines()}) == 2


def test_two_workers_share_the_work(url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(url, 12, log, 0.5) for _ in range(2)]
    assert [worker.wait(120) for worker in workers] == [0, 0]
    shares = Counter(line.split()[0] for line in log.read_text().splitlines() if "end" in line)
    assert sum(shares.values()) == 12 and min(shares.values()) >= 4
    assert len(Study.opened(goal(aim="soft"), url).found()) == 12


def test_a_server_that_goes_away_is_told_and_nothing_is_lost(
    server: postgres.Postgres, url: str
) -> None:
    judged: list[ModelSpec] = []

    def stops(spec: ModelSpec) -> float:
        judged.append(spec)
        if len(judged) == 4:
            server.stop()
        return top1(spec)

    study = Study.opened(goal(stops, "soft"), url)
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port}/postgres is gone") as gone:
        study.run(Budget(6), Sampling("random"), pace=QUICK)
    assert gone.value.exit_code == 5
    with pytest.raises(UnavailableError):
        study.found()
    server.start()
    study.run(Budget(6), Sampling("random"), pace=QUICK)  # the same study goes on
    found = [one.spec for one in study.found()]
    assert len(found) == 6
    assert found[:3] == judged[:3] and judged[3] in found
    assert Counter(judged)[judged[3]] == 2


def test_a_server_that_was_away_for_a_moment_goes_unnoticed(
    server: postgres.Postgres, url: str
) -> None:
    def restarts(spec: ModelSpec) -> float:
        if len(study.found()) == 2:
            server.stop()
            time.sleep(0.5)
            server.start()
        return top1(spec)

    study = Study.opened(goal(restarts, "soft"), url)
    study.run(Budget(4), Sampling("random"), pace=QUICK)
    assert len(study.found()) == 4


def _lines(log: Path, pid: int) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines() if line.startswith(f"{pid} ")]
