"""Results of a camera, a file or a URL: the newest frame each time, before its deadline.

    import edgecnn
    from edgecnn.stream import Budget

    with edgecnn.Stream("model.tflite", "0", budget=Budget(limit_ms=33)) as results:
        for result in results:
            print(result.top[0].label, result.frame_age_ms)

Needs no torch, and of the optional packages only a runtime; linuxpy for cameras, PyAV for streams
of the network, aiohttp for the page, paho-mqtt for MQTT.
"""

from edgecnn.stream.deadline import Budget
from edgecnn.stream.frame import Event, Frame
from edgecnn.stream.loop import Stream
from edgecnn.stream.result import Result, Score, Summary
from edgecnn.stream.sources import Wanted

__all__ = ["Budget", "Event", "Frame", "Result", "Score", "Stream", "Summary", "Wanted"]
