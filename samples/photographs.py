"""Real photographs without a download: views of the pictures that scikit-image's wheel ships.

They serve to calibrate and to compare two files on the same pictures. They have no classes, so no
accuracy can be told from them; for that, bring a folder with one subfolder per class.
"""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

PICTURES = (
    "astronaut", "camera", "chelsea", "coffee", "coins", "rocket", "brick", "grass", "gravel",
    "hubble_deep_field", "moon", "retina", "immunohistochemistry",
)  # fmt: skip


def write(folder: Path) -> int:
    """Write five views of every picture as PNG into ``folder``; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name in PICTURES:
        picture = np.atleast_3d(getattr(data, name)())
        rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]
        for view, part in enumerate(_views(rgb)):
            file = folder / f"{name}-{view}.png"
            cv2.imwrite(str(file), np.ascontiguousarray(part[..., ::-1]))
            count += 1
    return count


def _views(picture: np.ndarray) -> list[np.ndarray]:
    """The whole picture and its four overlapping corners, two thirds of each side."""
    height, width = (side * 2 // 3 for side in picture.shape[:2])
    return [
        picture,
        picture[:height, :width],
        picture[:height, -width:],
        picture[-height:, :width],
        picture[-height:, -width:],
    ]
