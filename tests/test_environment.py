"""What is recorded beside a measurement."""

import json
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from edgecnn import machine
from edgecnn.environment import Conditions, Environment, int8_saturates, package_versions
from edgecnn.machine.clusters import Cluster

IDLE = Conditions(1500.0, 45.0, 0.5, 10.0, 0.0, 100.0, 1.0)
PI4 = Environment(
    machine="aarch64", system="Linux 6.6", cpu_model="Cortex-A72", cores=4, usable_cores=2,
    isa=("asimd",), governor="ondemand", memory_bytes=2**31, python="3.11.2",
    versions={"edgecnn": "0.1.0"}, before=IDLE,
    after=replace(IDLE, throttled=0x50000, clocks_mhz=(1500.0,)),
    model="Raspberry Pi 4 Model B Rev 1.5",
    clusters=(Cluster("all", (0, 1, 2, 3), 1800, "Cortex-A72"),), pinned=(2, 3),
)  # fmt: skip


def test_round_trip() -> None:
    assert Environment.from_dict(json.loads(json.dumps(asdict(PI4)))) == PI4


def test_what_an_earlier_edgecnn_saved_can_be_read() -> None:
    saved = json.loads(json.dumps(asdict(PI4)))
    for key in ("model", "clusters", "pinned"):
        del saved[key]
    for key in ("throttled", "clocks_mhz"):
        del saved["before"][key], saved["after"][key]
    found = Environment.from_dict(saved)
    assert (found.model, found.clusters, found.pinned) == (None, (), ())
    assert found.after == IDLE


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        Environment.from_dict({})


def test_this_machine() -> None:
    found = Environment.now(["numpy>=1", "no-such-package"])
    assert found.usable_cores <= found.cores
    assert found.versions["numpy"] == np.__version__
    assert "no-such-package" not in found.versions
    assert found.cpu_model
    assert found.model == machine.model()
    assert sum(len(cluster.cpus) for cluster in found.clusters) <= found.cores
    assert len(found.before.clocks_mhz) in (0, len(found.clusters))


def test_the_state_is_read_between_rounds() -> None:
    Conditions.now()
    began = time.process_time()
    found = [Conditions.now() for _ in range(10)]
    assert (time.process_time() - began) / 10 < 0.05
    assert found[-1].own_cpu_s >= found[0].own_cpu_s


def test_a_measurement_belongs_to_its_machine() -> None:
    same = replace(PI4, after=IDLE, memory_bytes=1)
    assert same.fingerprint == PI4.fingerprint
    for change in ({"pinned": ()}, {"model": None}, {"governor": "performance"}):
        assert replace(PI4, **change).fingerprint != PI4.fingerprint  # type: ignore[arg-type]


def test_saturation_is_of_x86_without_vnni() -> None:
    assert int8_saturates("x86_64", ("avx2",))
    assert not int8_saturates("x86_64", ("avx2", "avx_vnni"))
    assert not int8_saturates("aarch64", ("asimd",))


def test_versions_of_requirements() -> None:
    assert set(package_versions(["numpy[x]>=1", "pytest ; python_version>'3'"])) == {
        "numpy",
        "pytest",
    }
