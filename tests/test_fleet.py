"""Several devices, throttled boards and power meters, through the command itself."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_onnx
from click.testing import CliRunner, Result

from edgecnn import devices, fleet
from edgecnn.artifact import Artifact
from edgecnn.cli import main
from edgecnn.comparison import Plan
from edgecnn.device import LOCAL, Device
from edgecnn.devices import local
from edgecnn.errors import UnavailableError, UsageError
from edgecnn.profile import Profile, Target

Pretend = Callable[[str], None]

PMIC = """     3V7_WL_SW_A current(0)=0.50000000A
     VDD_CORE_A current(7)=2.00000000A
     3V7_WL_SW_V volt(8)=4.00000000V
     VDD_CORE_V volt(15)=0.75000000V
       EXT5V_V volt(24)=5.15000000V
"""
FIRMWARE = """
import itertools
from edgecnn import worker
from edgecnn.machine import vcgencmd
bits = itertools.chain({bits}, itertools.repeat({bits}[-1]))
def ask(*arguments, root=None):
    if arguments == ("get_throttled",):
        return f"throttled=0x{{next(bits):x}}"
    return {pmic!r}
vcgencmd.ask = ask
worker.main()
"""


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    """A small file with a contract."""
    return tiny_onnx.artifact(tmp_path / "tiny.onnx")


@pytest.fixture
def firmware(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give this machine a Raspberry Pi's firmware that answers with these bits, one by one."""

    def pretend(bits: list[int], pmic: str | None = None) -> None:
        code = FIRMWARE.format(bits=bits, pmic=pmic)
        root = Path(fleet.__file__).resolve().parent.parent
        command = ["env", f"PYTHONPATH={root}", sys.executable, "-c", code]
        monkeypatch.setattr(local, "connect", lambda device, what, say: local.LocalHost(command))

    return pretend


def profile(model: Artifact, *arguments: object) -> Result:
    """Measure quickly."""
    quick = ("--runtime", "ort", "--runs", "5", "--seconds", "0.05", "--energy", "0.3")
    return CliRunner().invoke(main, ["profile", str(model.path), *quick, *map(str, arguments)])


@pytest.mark.parametrize(
    ("bits", "reason"),
    [([0, 0, 0x1], "under-voltage"), ([0, 0x4, 0], "throttled"), ([0, 0x20000], "capped"),
     ([0, 0, 0x8], "temperature")],
)  # fmt: skip
def test_a_throttled_run_is_void(
    model: Artifact, firmware: Callable[..., None], bits: list[int], reason: str, tmp_path: Path
) -> None:
    firmware(bits)
    output = tmp_path / "profile.json"
    done = profile(model, "--target-ms", 60_000, "--output", output)
    assert done.exit_code == 4
    assert "void" in done.stdout
    assert reason in done.stderr
    saved = Profile.load(output)
    assert saved.void is not None
    assert saved.passed is False


def test_what_happened_before_the_run_does_not_void_it(
    model: Artifact, firmware: Callable[..., None]
) -> None:
    firmware([0x50000])
    done = profile(model, "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["void"] is None


def test_a_sustained_run_keeps_the_bits(model: Artifact, firmware: Callable[..., None]) -> None:
    firmware([0, 0x4])
    done = profile(model, "--sustained", 2.2, "--json")
    assert done.exit_code == 4
    trace = json.loads(done.stdout)["sustained"]["trace"]
    assert {point["throttled"] for point in trace} == {4}


def test_energy_is_measured_where_a_meter_is(
    model: Artifact, firmware: Callable[..., None]
) -> None:
    firmware([0], PMIC)
    energy = json.loads(profile(model, "--json").stdout)["energy"]
    assert energy["busy_w"] == pytest.approx(0.5 * 4.0 + 2.0 * 0.75)
    assert energy["joules_per_run"] > 0
    assert "PMIC" in energy["source"]


def test_no_meter_is_told(model: Artifact) -> None:
    assert "not measured: no power meter" in profile(model).stdout
    assert json.loads(profile(model, "--json").stdout)["energy"] is None


# Several devices


def request(model: Artifact, **limits: float) -> fleet.Request:
    """A quick measurement with onnxruntime."""
    plan = Plan(min_runs=5, min_seconds=0.0, rounds=2, warmup_seconds=0.1, stages=False,
                target=Target(**limits))  # fmt: skip
    return fleet.Request(model, "ort", plan=plan)


def test_devices_of_one_machine_take_turns(model: Artifact) -> None:
    (outcome,) = fleet.profile(request(model), [LOCAL, Device("cuda")])
    assert [profile.device for profile in outcome.ranked()] == ["local"]
    assert isinstance(outcome.failures[0].error, UnavailableError)
    assert outcome.label == "local, cuda:0"


def test_a_machine_that_fails_does_not_stop_the_others(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(device: Device, what: str, say: object) -> object:
        raise UnavailableError("nobody is there")

    monkeypatch.setattr(devices.get("ssh"), "connect", connect)
    gone = Device("ssh", address="192.0.2.7", name="gone")
    outcomes = {one.label: one for one in fleet.profile(request(model), [gone, LOCAL])}
    assert outcomes["local"].ranked()
    assert "nobody is there" in str(outcomes["gone"].problem())


def test_a_device_is_named_once(model: Artifact) -> None:
    with pytest.raises(UsageError, match="more than once"):
        fleet.profile(request(model), [LOCAL, LOCAL])


def test_an_emulated_board_has_no_latency_to_judge(model: Artifact) -> None:
    with pytest.raises(UsageError, match="its processor is emulated"):
        fleet.profile(request(model, p95_ms=5.0), [Device("emulated", address="rpi4")])


def test_one_table_of_several_devices(model: Artifact) -> None:
    done = profile(model, "--device", "local", "--device", "cuda")
    assert done.exit_code == 0
    assert "local" in done.stdout
    assert "golden sample" in done.stdout
    assert "ort on cuda:0: not measured" in done.stderr


def test_output_is_of_one_device(model: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    assert profile(model, "--output", path).exit_code == 0
    assert Profile.load(path).device == "local"


def test_an_absent_runtime_costs_no_process(
    model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = local.LocalHost()
    monkeypatch.setattr(local, "connect", lambda device, what, say: host)
    monkeypatch.setattr(host, "importable", lambda modules: ["onnxruntime"])
    started: list[str] = []
    start = host.start_worker
    monkeypatch.setattr(host, "start_worker", lambda: (started.append("worker"), start())[1])
    (outcome,) = fleet.profile(replace(request(model), runtime="auto"), [LOCAL])
    assert [profile.runtime for profile in outcome.ranked()] == ["ort"]
    assert len(started) == 1
    assert "pip install" in str(outcome.failures[0].error)
