"""Finding room for words beside points."""

from collections.abc import Iterator, Sequence

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
AWAY = 13.0


def place(
    at: tuple[float, float], width: float, height: float, taken: Sequence[Box], room: Box
) -> Box | None:
    """Return where words of this size stand beside a point, free of all that is ``taken``.

    None where no side of the point is free.
    """
    return next((box for box in _sides(at, width, height) if _free(box, taken, room)), None)


def _sides(at: tuple[float, float], width: float, height: float) -> Iterator[Box]:
    x, y = at
    for left, top in (
        (x - AWAY - width, y - height - 1),
        (x + AWAY, y + 1),
        (x + AWAY, y - height / 2),
        (x - AWAY - width, y - height / 2),
        (x - width / 2, y - AWAY - height),
        (x - width / 2, y + AWAY),
        (x - width, y - 2 * height - AWAY),
        (x, y + height + AWAY),
    ):
        yield left, top, left + width, top + height


def _free(box: Box, taken: Sequence[Box], room: Box) -> bool:
    left, top, right, bottom = box
    if left < room[0] or top < room[1] or right > room[2] or bottom > room[3]:
        return False
    return all(
        right <= other[0] or left >= other[2] or bottom <= other[1] or top >= other[3]
        for other in taken
    )
