"""Reading photographs and masks: what is wrong with a file is one line that names it."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from analysis.datasets.images import read_image, read_mask
from analysis.errors import AnalysisError

PHOTO = np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG made by hand: one that claims more pixels than it holds, or of few bits a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_photographs_of_every_mode_become_rgb(tmp_path: Path) -> None:
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK"):
        path = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.fromarray(PHOTO).convert(mode).save(path)
        image = read_image(path)
        assert image.shape == (12, 10, 3) and image.dtype == np.uint8
    assert np.array_equal(read_image(tmp_path / "RGB.png"), PHOTO)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_exif_orientation_is_applied() -> None:
    image = Image.fromarray(PHOTO)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned by 90 degrees clockwise
    upright = read_image(io.BytesIO(encoded(image, "PNG", exif=exif)))
    assert np.array_equal(upright, np.rot90(PHOTO, -1))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height", "message"), [(20_000, 10_000, "100 megapixels"), (11_000, 10_000, "110 mega")]
)
def test_an_upload_of_many_megapixels_is_refused_before_decoding(width: int, height: int, message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        read_image(io.BytesIO(png(width, height, 8, 2, bytes(100))), name="holiday.png")
    assert str(caught.value).startswith("holiday.png: ")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.filterwarnings("ignore:.*")
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_cut_off_or_damaged_image_is_one_line_or_is_read(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.fromarray(PHOTO), kind))
    cut = data.draw(st.integers(0, len(content)))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read_image(io.BytesIO(bytes(content[:cut])), name="x.png")
    except AnalysisError as error:
        assert str(error).startswith("x.png: ") and "\n" not in str(error)
    else:
        assert image.ndim == 3 and image.shape[2] == 3


def test_a_photograph_cut_in_half_is_refused(tmp_path: Path) -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)), "JPEG")
    (tmp_path / "half.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(AnalysisError, match=r"half\.jpg: not a readable image, or cut off \(image file is truncated"):
        read_image(tmp_path / "half.jpg")


def test_a_missing_image_a_folder_and_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    for name in ("nothing.png", "", "a.txt"):
        with pytest.raises(AnalysisError, match=r"no such image file|not a readable image"):
            read_image(tmp_path / name)


def test_formats_that_run_programs_are_not_decoded() -> None:
    with pytest.raises(AnalysisError, match="not a readable image"):
        read_image(io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"), name="a.eps")


@given(values=st.lists(st.sampled_from([0, 1, 2, 11, 255]), min_size=6, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_mask_is_its_stored_values_never_its_palette(values: list[int], tmp_path_factory) -> None:  # noqa: ANN001
    path = tmp_path_factory.mktemp("mask") / "m.png"
    stored = np.array(values, np.uint8).reshape(2, 3)
    image = Image.fromarray(stored, mode="P")
    image.putpalette(bytes(range(255, -1, -1)) * 3)
    image.save(path)
    mask = read_mask(path, 3, (2, 3), void=(11, 255))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, np.where(stored > 2, 255, stored))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_are_not_stretched(bits: int, tmp_path: Path) -> None:
    """A grey PNG of 2 bits a pixel with values 0 to 3, written by hand: Pillow would show 0, 85, 170, 255."""
    values = [k % 2**bits for k in range(8)]
    packed = int("".join(f"{v:0{bits}b}" for v in values), 2).to_bytes(bits, "big")
    (tmp_path / "m.png").write_bytes(png(8, 1, bits, 0, b"\0" + packed))
    assert read_mask(tmp_path / "m.png", 16, (1, 8)).tolist() == [values]


def test_bad_masks_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[0, 7], [9, 255]], np.uint8)).save(path)
    with pytest.raises(AnalysisError, match=r"m\.png: unknown label value 7, 9; known are 0 to 4 and 255"):
        read_mask(path, 5, (2, 2))
    with pytest.raises(AnalysisError, match=r"m\.png: the mask is 2 x 2 pixels .* its image 2 x 3"):
        read_mask(path, 10, (2, 3))
    Image.fromarray(PHOTO).save(path)
    with pytest.raises(AnalysisError, match="mode RGB holds colours; index masks are needed"):
        read_mask(path, 5, (12, 10))
    with pytest.raises(AnalysisError, match="no such mask file"):
        read_mask(tmp_path / "none.png", 5, (2, 2))
