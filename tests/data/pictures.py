"""Pictures for the tests of reading."""

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    """Smooth noise, so that resizing and JPEG keep it recognisable."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)
