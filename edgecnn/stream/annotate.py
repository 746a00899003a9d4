"""A picture with what was seen in it written on it."""

import numpy as np
from numpy.typing import NDArray

from edgecnn.stream.result import Result

LINES = 3
_HEIGHT_SHARE = 22
"""A line of text is the picture's height divided by this."""


def annotated(result: Result) -> NDArray[np.uint8]:
    """Return the picture as BGR, uint8, height x width x 3, with the best classes and the age."""
    import cv2

    picture = cv2.cvtColor(result.image, cv2.COLOR_RGB2BGR)
    line = max(14, picture.shape[0] // _HEIGHT_SHARE)
    texts = [f"{one.score:4.0%} {one.label}" for one in result.top[:LINES]]
    texts.append(f"{result.frame_age_ms:.0f} ms  {result.model}")
    for number, text in enumerate(texts, 1):
        place, scale = (line // 2, number * line), line / 30
        plain = text.encode("ascii", "replace").decode()
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(picture, plain, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness,
                        cv2.LINE_AA)  # fmt: skip
    return np.asarray(picture, np.uint8)
