import pickle

import numpy as np
import pytest
import torch
from pictures import picture
from PIL import Image

from cohobate.data.images import BadImage, centre, check, dimensions, parts, stack


def read(path, size=None):
    """The central square as (H, W, 3) numbers."""
    size = size or min(dimensions(path))
    return parts(path, centre, size)[0].permute(1, 2, 0).numpy()


@pytest.fixture
def save(tmp_path):
    def save(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_rgb_comes_back_exactly(save, suffix):
    image = picture(0)
    path = save(image, f"x.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read(path), np.array(image))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_grey_is_replicated(save, suffix):
    grey = picture(0).convert("L")
    pixels = read(save(grey, f"x.{suffix}", **({"quality": 98} if suffix == "jpg" else {})))
    assert np.abs(pixels.astype(int) - np.array(grey)[..., None]).max() <= (4 * (suffix == "jpg"))
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_black_and_white(save):
    pixels = read(save(picture(0).convert("1"), "x.png"))
    assert set(np.unique(pixels)) == {0, 255}


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette(save, suffix):
    image = picture(0).quantize(16)
    assert np.array_equal(read(save(image, f"x.{suffix}")), np.array(image.convert("RGB")))


def test_transparent_palette_lies_over_white(save):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(0, (0, 0, 4, 8))
    pixels = read(save(image, "x.png", transparency=0))
    assert (pixels[:, :4] == 255).all()
    assert (pixels[:, 4:] == [0, 0, 255]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(save, mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image.paste((0, 0, 0, 51), (4, 0, 6, 8))
    pixels = read(save(image.convert(mode), "x.png"))
    assert (pixels[:, :4] == 255).all()
    assert (np.abs(pixels[:, 4:6].astype(int) - 204) <= 1).all()
    assert (pixels[:, 6:] == 0).all()


def test_cmyk(save):
    path = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.jpg", quality=98)
    assert np.abs(read(path).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(save, suffix):
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    pixels = read(save(Image.fromarray(values), f"x.{suffix}"))
    assert np.abs(pixels[..., 0] - values / 257).max() <= 0.5
    assert (pixels[..., 0] == pixels[..., 1]).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_deeper_grey_is_scaled_by_its_own_range(save, dtype):
    values = np.linspace(-70_000, 210_000, 64).reshape(8, 8).astype(dtype)
    pixels = read(save(Image.fromarray(values), "x.tif"))[..., 0]
    expected = (values.astype(float) + 70_000) * 255 / 280_000
    assert np.abs(pixels - expected).max() <= 0.6


def test_one_deep_value_is_black_and_not_an_error(save):
    assert (read(save(Image.fromarray(np.full((8, 8), 1e6, np.float32)), "x.tif")) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(save, orientation):
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that undoes each
    upright = picture(0, 48, 32)
    stored = upright if orientation == 1 else upright.transpose(back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(stored, "x.png", exif=exif)
    assert dimensions(path) == (48, 32)
    assert np.array_equal(read(path), np.array(upright.crop((8, 0, 40, 32))))


@pytest.mark.parametrize("share", [1, 4])
def test_orientation_of_a_jpeg(save, share):
    """Also of one that is decoded at a smaller scale."""
    upright, exif = picture(0, 480, 320), Image.Exif()
    exif[0x0112] = 6
    path = save(upright.transpose(Image.Transpose.ROTATE_90), "x.jpg", exif=exif, quality=95)
    square = upright.crop((80, 0, 400, 320)).resize((320 // share, 320 // share))
    apart = read(path, 320 // share).astype(int) - np.array(square)
    assert np.abs(apart).mean() < 2


def test_damaged_orientation_is_ignored(save):
    text_for_a_number = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0AB\0\0"
    path = save(picture(0, 48, 32), "x.jpg", exif=text_for_a_number)
    assert dimensions(path) == (48, 32)
    assert check([path]) == []


@pytest.mark.parametrize(("width", "height"), [(640, 480), (481, 643), (1000, 137)])
def test_smaller_decoding_looks_like_full_decoding(save, width, height):
    image = picture(1, width, height)
    jpeg, lossless = save(image, "x.jpg", quality=95), save(image, "x.png")
    boxes = torch.tensor([[0, 0, width, height], [width / 4, 0, width * 3 / 4, height]])
    views = [parts(path, lambda *_: boxes, 32).float() for path in (jpeg, lossless)]
    assert (views[0] - views[1]).abs().mean() < 1.5
    assert (views[0] - views[1]).abs().max() < 16


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_part_of_a_jpeg_is_what_pillow_makes_of_it(save, mode):
    path = save(picture(3, 200, 150).convert(mode), "x.jpg")
    view = parts(path, lambda *_: torch.tensor([[30, 20, 101, 84]]), 64)[0]
    actual = view.permute(1, 2, 0).int()
    whole = Image.open(path).convert("RGB")
    expected = whole.resize((64, 64), Image.Resampling.BILINEAR, box=(30, 20, 131, 104))
    assert (actual - torch.from_numpy(np.array(expected)).int()).abs().max() <= 2


def test_boxes_are_left_top_width_height(save):
    image = picture(2, 40, 30)
    view = parts(save(image, "x.png"), lambda w, h: torch.tensor([[10, 5, w - 20, h - 10]]), 20)
    assert torch.equal(
        view[0], torch.tensor(np.array(image.crop((10, 5, 30, 25)))).permute(2, 0, 1)
    )


def test_stack_takes_central_squares(save):
    images = [picture(n, 40, 30) for n in range(5)]
    paths = [save(image, f"{n}.png") for n, image in enumerate(images)]
    expected = np.stack([np.array(image.crop((5, 0, 35, 30))) for image in images])
    assert np.array_equal(stack(paths, 30).permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_truncated_files_are_named(save, truncate, suffix):
    good, bad = (
        save(picture(0, 200, 200), f"good.{suffix}"),
        save(picture(0, 200, 200), f"b.{suffix}"),
    )
    faults = check([good, truncate(bad), good])
    assert [fault.path for fault in faults] == [bad]
    with pytest.raises(BadImage, match=rf"image .*b\.{suffix} cannot be read: \S"):
        read(bad, 32)


def test_a_truncated_photograph_is_told_of_without_the_source_of_its_decoder(save, truncate):
    bad = truncate(save(picture(0, 200, 200), "bad.jpg"))
    with pytest.raises(BadImage) as caught:
        read(bad, 200)  # at its own size, which another decoder does
    assert str(caught.value) == f"image {bad} cannot be read: image file is truncated or damaged"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not an image"), (b"hello", "not an image"), (None, "No such file")],
)
def test_what_is_no_image_is_named(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadImage, match=rf"x\.jpg cannot be read: .*{reason}"):
        read(path)
    assert len(check([path])) == 1


def test_a_bad_image_can_travel_between_processes(tmp_path):
    error = pickle.loads(pickle.dumps(BadImage(tmp_path / "x.jpg", "why")))
    assert (error.path, error.reason) == (tmp_path / "x.jpg", "why")
    assert isinstance(error, ValueError)
