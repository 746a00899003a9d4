"""The small parts of a stream: slot, stillness, histogram, smoothing, pixels, health."""

import threading
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecnn.environment import Conditions
from edgecnn.errors import UsageError
from edgecnn.stream.frame import Frame, utc
from edgecnn.stream.health import HealthWatch
from edgecnn.stream.histogram import Histogram
from edgecnn.stream.slot import Slot
from edgecnn.stream.smoothing import Smoothing
from edgecnn.stream.sources._pixels import (
    FORMATS,
    MJPG,
    BrokenPictureError,
    frame_bytes,
    to_rgb,
)
from edgecnn.stream.still import Stillness

SECOND_NS = 1_000_000_000


def picture(seed: int, height: int = 48, width: int = 64) -> Any:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_a_slot_holds_the_newest() -> None:
    slot: Slot[int] = Slot()
    for value in range(1000):
        slot.put(value)
    assert slot.take(0) == 999
    assert slot.take(0.01) is None


def test_a_lossless_slot_hands_over_everything_in_order() -> None:
    slot: Slot[int] = Slot(lossless=True)

    def fill() -> None:
        for value in range(500):
            slot.put(value)
        slot.close()

    threading.Thread(target=fill).start()
    found = []
    while (value := slot.take(1.0)) is not None:
        found.append(value)
    assert found == list(range(500))
    assert slot.ended


@pytest.mark.parametrize("lossless", [False, True])
def test_closing_wakes_whoever_waits(lossless: bool) -> None:
    slot: Slot[int] = Slot(lossless=lossless)
    threading.Timer(0.05, slot.close).start()
    start = time.monotonic()
    assert slot.take(10.0) is None
    assert time.monotonic() - start < 5
    assert not slot.put(1)


def test_a_picture_that_is_repeated_for_long_has_the_age_of_its_first_showing() -> None:
    still = Stillness(after_s=2.0)
    image, events, ages = picture(0), [], []
    for number in range(100):
        now = number * SECOND_NS // 10
        frame, event = still.seen(Frame(image.copy(), number, now))
        events += [event.kind] if event else []
        ages.append((now - frame.captured_ns) / SECOND_NS)
    assert events == ["frozen"]
    assert ages[19] == 0
    assert ages[20] == 2.0
    assert ages[-1] == pytest.approx(9.9)
    frame, event = still.seen(Frame(picture(1), 100, 10 * SECOND_NS))
    assert event is not None
    assert event.kind == "moving"
    assert frame.captured_ns == 10 * SECOND_NS
    assert frame.repeated == 0


def test_one_changed_pixel_is_a_new_picture() -> None:
    still = Stillness(after_s=0.1)
    for number in range(50):
        image = picture(0)
        image[5, 7, 1] = number
        frame, event = still.seen(Frame(image, number, number * SECOND_NS))
        assert event is None
        assert frame.repeated == 0


def test_repeated_pictures_are_counted() -> None:
    still = Stillness(after_s=0)
    repeats = [still.seen(Frame(picture(0), n, n * SECOND_NS))[0].repeated for n in range(4)]
    assert repeats == [0, 1, 2, 3]


@given(st.lists(st.floats(0.02, 1e5), min_size=1, max_size=400), st.floats(0.1, 100))
def test_percentiles_are_those_of_all_values_within_a_per_cent(
    values: list[float], percent: float
) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    found = histogram.percentile(percent)
    exact = float(np.percentile(values, percent, method="inverted_cdf"))
    assert found is not None
    assert exact * 0.9999 <= found <= exact * 1.0101
    assert sum(count for _, _, count in histogram.bars()) == len(values)
    assert all(low < high for low, high, _ in histogram.bars())


def test_an_empty_histogram_tells_nothing() -> None:
    assert Histogram().percentile(95) is None
    assert Histogram().to_dict() == {"count": 0}
    assert Histogram().bars() == []


def test_smoothing_goes_by_time_and_not_by_frames() -> None:
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    found = []
    for frames in (5, 50):
        smoothing = Smoothing(1.0)
        smoothing.add(0, zero)
        for number in range(1, frames + 1):
            mean = smoothing.add(number * SECOND_NS // frames, one)
        found.append(float(mean[0]))
    assert found[0] == pytest.approx(1 - np.exp(-1), abs=1e-5)
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert Smoothing(0).add(0, one) is one
    with pytest.raises(UsageError):
        Smoothing(-1)


def test_pictures_of_cameras_become_rgb() -> None:
    smooth = cv2.GaussianBlur(picture(3), (0, 0), 6)
    bgr = cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR)
    planar = cv2.cvtColor(smooth, cv2.COLOR_RGB2YUV_I420)
    height, width = smooth.shape[:2]
    luma, chroma = planar[:height], planar[height:].reshape(2, -1)
    encoded = {
        "RGB3": smooth, "BGR3": bgr, "YU12": planar,
        "NV12": np.vstack([luma, chroma.T.reshape(height // 2, width)]),
        MJPG: cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1],
    }  # fmt: skip
    for name, data in encoded.items():
        found = to_rgb(np.ascontiguousarray(data).tobytes(), name, width, height)
        assert found.shape == smooth.shape
        assert np.abs(found.astype(int) - smooth).mean() < 4, name
    grey = to_rgb(luma.tobytes(), "GREY", width, height)
    assert (grey[..., 0] == luma).all()


@pytest.mark.parametrize("name", ["RGB3", "YUYV", "GREY", "YU12", "NV12"])
def test_padded_lines_are_cut(name: str) -> None:
    height, width, padded = 8, 12, 16
    size = frame_bytes(name, padded, height)
    data = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    per_pixel = {"RGB3": 3, "YUYV": 2}.get(name, 1)
    found = to_rgb(data, name, width, height, padded * per_pixel)
    whole = to_rgb(data, name, padded, height)
    assert (found == whole[:, :width]).all()


@given(st.sampled_from(sorted(FORMATS)), st.integers(1, 40), st.integers(1, 40), st.binary())
def test_bytes_of_any_length_are_a_picture_or_refused(
    name: str, width: int, height: int, data: bytes
) -> None:
    try:
        size = frame_bytes(name, width, height)
    except UsageError:
        assert width % 2 or height % 2
        return
    if len(data) < size:
        with pytest.raises(BrokenPictureError):
            to_rgb(data, name, width, height)
    else:
        assert to_rgb(data, name, width, height).shape == (height, width, 3)


@given(st.binary(max_size=200))
def test_a_damaged_jpeg_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenPictureError):
        to_rgb(b"\xff\xd8" + data, MJPG, 64, 48)


def test_what_makes_a_board_slow_is_said() -> None:
    calm = Conditions(2400.0, 55.0, 0.5, busy_cpu_s=10, steal_cpu_s=0, total_cpu_s=100,
                      own_cpu_s=8, throttled=0)  # fmt: skip
    watch = HealthWatch(lambda: calm)
    watch.update(replace(calm, total_cpu_s=108.0, busy_cpu_s=12.0, own_cpu_s=10.0))
    assert watch.causes() == ()
    hot = replace(calm, clock_mhz=1500.0, temperature_c=84.0, throttled=0x4, total_cpu_s=116.0,
                  busy_cpu_s=18.0, own_cpu_s=12.0)  # fmt: skip
    watch.update(hot)
    text = "; ".join(watch.causes())
    for part in ("throttled", "1500 of 2400 MHz", "84 degrees", "other programs use 50%"):
        assert part in text


def test_a_moment_is_told_by_the_wall_clock() -> None:
    assert utc(time.monotonic_ns())[:13] == time.strftime("%Y-%m-%dT%H", time.gmtime())
