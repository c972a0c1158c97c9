"""Folders of pictures, made anew for every test, and the way to the real ones."""

import os
from pathlib import Path

import pytest
from pictures import picture


@pytest.fixture
def folder(tmp_path):
    """Makes class folders: `folder({"train/ants": 6, ...}, size=(w, h), suffix=".png")`."""

    def make(counts: dict[str, int], size: tuple[int, int] = (32, 32), suffix: str = ".png"):
        for number, (place, count) in enumerate(counts.items()):
            (tmp_path / place).mkdir(parents=True)
            for row in range(count):
                image = picture(1000 * number + row, *size)
                image.save(tmp_path / place / f"{row:03}{suffix}")
        return tmp_path

    return make


@pytest.fixture
def truncate():
    """Cuts a file in the middle."""

    def cut(path: Path) -> Path:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    return cut


@pytest.fixture
def measured_data() -> Path:
    """The real images that lie beside the checkout; skips where they do not."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    root = Path(os.environ.get("COHOBATE_TEST_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real images: {root} is missing (COHOBATE_TEST_DATA says where they are)")
    return root
