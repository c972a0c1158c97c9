"""Text files that name something in each line."""

from collections.abc import Sequence
from pathlib import Path


def text(path: Path) -> str:
    """What a file holds. Raises ValueError where that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark before the first line
    except UnicodeDecodeError as error:
        reason = f"{error.reason} at byte {error.start}"
        raise ValueError(f"{path} is no text in UTF-8 ({reason}): save it as such") from error


def lines(path: Path) -> list[str]:
    """The lines of a file that hold something. Raises ValueError where they are not UTF-8."""
    return [line.strip() for line in text(path).splitlines() if line.strip()]


def check_images(names: Sequence[str], place: object) -> None:
    """Raises ValueError for a list of no image, or of one twice."""
    if not names:
        raise ValueError(f"{place} names no image: list some in it, or take it away")
    check_once(names, place)


def check_once(names: Sequence[str], place: object) -> None:
    """Raises ValueError where a name stands twice in a list."""
    if len({*names}) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"{place} lists {twice!r} twice: take one of them away")
