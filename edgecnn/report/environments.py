"""Where and with which versions the runs were made."""

import json
from collections.abc import Sequence

from edgecnn.report.fields import Fields
from edgecnn.report.markup import Markup, join, tag
from edgecnn.report.parts import Section, facts, notes


def environments(sections: Sequence[Section]) -> Markup:
    """Return every different environment, with the runs that had it."""
    groups: dict[str, tuple[Fields, list[str]]] = {}
    for section in sections:
        for found in section.environments:
            titles = groups.setdefault(_what(found), (found, []))[1]
            titles.append(section.title)
    if not groups:
        return notes(["The documents tell no environment; those of edgecnn profile do."])
    return join(_one(found, titles) for found, titles in groups.values())


def _what(found: Fields) -> str:
    """Return what has to be equal for two runs to count as made in one environment."""
    keys = ("machine", "model", "cpu_model", "governor", "pinned", "python", "versions", "system")
    return json.dumps([found.data.get(key) for key in keys], sort_keys=True)


def _one(found: Fields, titles: Sequence[str]) -> Markup:
    versions = found.maybe_child("versions")
    named = () if versions is None else tuple(versions.data)
    memory = found.maybe_number("memory_bytes")
    return join(
        [
            tag("p", f"Of: {'; '.join(dict.fromkeys(titles))}", class_="note"),
            facts(
                [
                    ("board", found.maybe_text("model")),
                    ("processor", found.maybe_text("cpu_model")),
                    ("architecture", found.maybe_text("machine")),
                    ("cores, usable", _cores(found)),
                    ("processors used", ", ".join(f"{n:g}" for n in found.numbers("pinned"))),
                    ("governor", found.maybe_text("governor")),
                    ("memory", None if memory is None else f"{memory / 2**30:.1f} GiB"),
                    ("system", found.maybe_text("system")),
                    ("Python", found.maybe_text("python")),
                    ("processor time of others", _share(found, "others_cpu")),
                    ("stolen by other guests", _share(found, "steal_cpu")),
                    *((name, versions and versions.maybe_text(name)) for name in named),
                ]
            ),
        ]
    )


def _cores(found: Fields) -> str | None:
    cores, usable = found.maybe_count("cores"), found.maybe_count("usable_cores")
    return None if cores is None else f"{cores}, {usable}"


def _share(found: Fields, key: str) -> str | None:
    share = found.maybe_number(key)
    return None if share is None else f"{share:.1%}"
