"""Pictures in a page: read back from their data URIs."""

import json

import numpy as np
import torch

from cohobate.analysis.pictures import opened, overlay, picture, sheet, without


def pixels(uri):
    return np.asarray(opened(uri)).astype(float)


def test_a_picture_is_the_image_in_another_size():
    image = torch.zeros(3, 8, 8)
    image[0, :, 4:] = 1
    for side in (4, 32):
        found = pixels(picture(image, side))
        assert found.shape == (side, side, 3)
        assert found[:, : side // 4].max() < 40
        assert found[:, -side // 4 :, 0].min() > 200
        assert found[:, -side // 4 :, 1:].max() < 60


def test_an_overlay_is_bright_where_the_heat_is():
    heat = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    found = pixels(overlay(torch.full((3, 8, 8), 0.5), heat, 32)).sum(2)
    assert found[-4:, -4:].min() > found[:4, :4].max() + 100


def test_a_sheet_holds_its_images_row_by_row():
    greys = torch.arange(7).div(7)
    found = sheet(greys.view(7, 1, 1, 1).expand(7, 3, 64, 64).contiguous())
    assert (found.side, found.columns, found.count) == (48, 3, 7)
    cells = pixels(found.picture)
    for cell, grey in enumerate(greys.tolist()):
        row, column = divmod(cell, found.columns)
        middle = cells[48 * row + 24, 48 * column + 24]
        assert np.abs(middle - 255 * grey).max() < 6
    small = sheet(torch.rand(3, 3, 8, 8))
    assert (small.side, opened(small.picture).size) == (8, (16, 16))
    many = sheet(torch.rand(1, 3, 48, 48).expand(4000, 3, 48, 48))
    assert (many.side, many.columns) == (24, 64)  # as large as a sheet of 1,000


def test_numbers_are_written_without_pictures():
    uri = picture(torch.rand(3, 4, 4), 4)
    tree = {"rows": [1, 2], "pictures": [uri], "pairs": [{"picture": uri, "count": 3}], "name": "x"}
    kept = without(tree)
    assert kept == {"rows": [1, 2], "pictures": [], "pairs": [{"count": 3}], "name": "x"}
    assert "base64" not in json.dumps(kept)
