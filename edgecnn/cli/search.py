"""``edgecnn search``: the most accurate network of a space under a latency."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgecnn.cli import _proxy, _search_goal, _search_view
from edgecnn.cli._output import common_options, print_json, progress

if TYPE_CHECKING:
    from edgecnn.search import Found, Progress, Study
    from edgecnn.search.finale import Standing

NEEDS = ("search",)
AGAINST = ("stock", "widths", "none")
_PATH = click.Path(path_type=Path)


@click.command(short_help="The most accurate network of a space under a latency.")
@click.option("--space", default="mnasnet", show_default=True, metavar="NAME|FILE.toml")
@click.option("--target-ms", type=float, required=True, help="Median latency of a network.")
@_search_goal.latency_options
@_proxy.options
@click.option("--imgsz", type=click.IntRange(8, 4096), help="Resolution in place of the space's.")
@click.option(
    "--output-stride",
    type=click.IntRange(1),
    help="How many times smaller the last map is; the first strides are dropped for it.  "
    "[default: as leaves a map of 4 pixels]",
)
@click.option("--networks", type=click.IntRange(1), default=100, show_default=True)
@click.option("--minutes", type=float, help="Begin no new network after so long.")
@click.option("--sampler", default="tpe", show_default=True, metavar="tpe|nsga2|random|evolution")
@click.option("--aim", default="soft", show_default=True, metavar="soft|hard|pareto")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--storage", help="File or postgresql://USER@HOST/NAME.  [default: in --workdir]")
@click.option("--study", "name", help="Name in the storage.  [default: from space, target, aim]")
@click.option("--plot", type=_PATH, help="An SVG, drawn anew with each network.")
@click.option("--best", "count", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--against",
    type=click.Choice(AGAINST),
    default="stock",
    show_default=True,
    help="Train beside the best: MobileNetV2, V3 and MnasNet-A1 as wide as meets the target, or "
    "at the papers' widths, or none.",
)
@click.option("--test-images", type=click.IntRange(1), help="Test files on so many pictures only.")
@click.option("--search-only", is_flag=True, help="Export, measure and test nothing in the end.")
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgecnn"),
    show_default=True,
    help="Keeps the study and what was trained.",
)
@common_options
def command(
    target_ms: float,
    networks: int,
    minutes: float | None,
    sampler: str,
    seed: int,
    storage: str | None,
    name: str | None,
    plot: Path | None,
    count: int,
    against: str,
    test_images: int | None,
    search_only: bool,
    workdir: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Search a space as MnasNet does: each network is trained for a short while and rewarded by
    its accuracy and its latency, which a table predicts or a device shows.

    The same command goes on with an interrupted search; run on several machines with one
    --storage, it shares the work. In the end the best networks are exported with their weights,
    quantized, measured in turns and tested, beside stock networks trained in the same way. Exits
    with 4 where nothing found meets the target.
    """
    from edgecnn.search import Budget, Sampling, Study
    from edgecnn.search import plot as plots

    if plot is not None:
        plots.check(plot)
    with ExitStack() as stack:
        setting = _search_goal.setting(stack, target_ms, workdir, **given)
        goal = setting.goal
        _search_view.told(setting.told)
        name = name or f"{goal.space.name}-{target_ms:g}ms-{goal.aim}"
        study = Study.opened(goal, storage or workdir / "search.db", name)

        def watch(now: "Progress") -> None:
            show(now)
            if plot is not None:
                plots.write(goal, study.found(), plot)

        seconds = None if minutes is None else 60 * minutes
        with _search_view.live(goal) as show:
            study.run(Budget(networks, seconds), Sampling(sampler, seed), watch=watch)
        best = study.best(count)
        rows = () if search_only else _finale(stack, setting, best, against, test_images)
    if as_json:
        print_json(_document(study, best, rows))
    else:
        _search_view.print_best(goal, best)
        if rows:
            _search_view.print_finale(rows, target_ms, str(setting.running))
    _judge(study)


def _finale(
    stack: ExitStack,
    setting: "_search_goal.Setting",
    best: "Sequence[Found]",
    against: str,
    limit: int | None,
) -> "tuple[Standing, ...]":
    from edgecnn.search import Proxy, finale

    goal = setting.goal
    if not isinstance(goal.accuracy, Proxy) or not best:
        _search_view.told("nothing was trained (no --data): no files are made")
        return ()
    entrants = list(finale.best_found(best))
    if against != "none":
        widths = finale.WIDTHS if against == "widths" else finale.FINE_WIDTHS
        stock = list(finale.stock(best[0].spec, setting.stock_ms, widths))
        entrants += stock if against == "widths" else finale.widest(stock, goal.target_ms)
    device, host = setting.measuring(stack)
    run = finale.Finale(goal.accuracy, setting.running, goal.latency_kind, host, device, limit)
    with progress() as report:
        return run.run(entrants, report)


def _document(
    study: "Study", best: "Sequence[Found]", rows: "Sequence[Standing]"
) -> dict[str, Any]:
    goal = study.goal
    return {
        "goal": goal.fingerprint,
        "target_ms": goal.target_ms,
        "judged": len(study.found()),
        "problems": study.problems(),
        "best": [one.to_dict() | {"meets": one.meets(goal.target_ms)} for one in best],
        "front": [one.to_dict() for one in study.front()],
        "files": _search_view.document(rows),
    }


def _judge(study: "Study") -> None:
    from edgecnn.errors import VerdictError

    goal = study.goal
    if not any(one.meets(goal.target_ms) for one in study.found()):
        raise VerdictError(
            f"no network that was judged meets {goal.target_ms:g} ms ({goal.latency_kind})."
        )
