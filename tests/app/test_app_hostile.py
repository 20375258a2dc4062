"""Hostile names, query parameters and files: over 500 of them. No page runs, opens or renders any of it."""

from __future__ import annotations

from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboard.address import Address
from dashboard.allowed import is_inside
from dashboard.photographs import uploaded
from dashboards import dual, opened, png, save, scale
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis.errors import AnalysisError

TEXTS = (
    *("../../../../etc/passwd", "/etc/passwd", "..\\..\\windows\\win.ini", "~/.ssh/id_rsa", "file:///etc/passwd"),
    *("runs/../../x", "runs/one/../../..", "data/demo/../../../etc", "//server/share", "/dev/zero", "runs/one\0.pt"),
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>', "/proc/self/mem"),
    *("![x](http://127.0.0.1:1/x.png)", "$\\def\\x{\\x}\\x$", ":material/delete:", "`rm -rf /`", "{0.__class__}"),
    *("[a](javascript:alert(1))", "{{7*7}}", "'; DROP TABLE runs; --", "$(touch pwned)", "; touch pwned", "%s%n%x"),
    *(
        "| touch pwned",
        "--out=/tmp/pwned",
        "-h",
        "\r\nSet-Cookie: a=b",
        "\u202egpj.exe",
        "\U0001f600" * 50,
        "a" * 10_000,
    ),
    *("NaN", "-1", "1e309", "9" * 400, "\u0661\u0662", "shapes:/etc", "folder:/etc", "camvid:../..", "null"),
    *("__import__('os').system('touch pwned')", "cos\nsystem\n(S'touch pwned'\ntR.", "[object Object]", " ", "\t"),
    *("0,0,99999,99999", "-1,-1,-1,-1", "1,2,3", ",,,", "0.5,0.5,inf"),
)
PAGES = ("look", "scale_weights", "position", "channels", "claims", "gates", "attribution", "compare", "checkpoint")
NAMES = [field.name for field in fields(Address)]


def clean(test: AppTest, folder: Path) -> None:
    """No traceback, errors of one line, nothing rendered unescaped, nothing run."""
    assert not test.exception
    assert all("\n" not in error.value.strip() for error in test.error)
    html = "".join(element.proto.body for element in test.get("html")).lower()
    assert not any(bad in html for bad in ("<script", "<img", "<svg", "javascript:alert"))
    markdown = "".join(
        element.value for element in (*test.markdown, *test.caption, *test.error, *test.info, *test.warning)
    )
    assert "](javascript" not in markdown and "<script>" not in markdown.replace("\\<script", "")
    assert not (folder / "pwned").exists() and not Path("/tmp/pwned").exists()


@pytest.fixture
def runs(folder: Path) -> Path:
    save(scale(), folder / "runs" / "scale")
    save(dual(), folder / "runs" / "dual")
    return folder


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_hostile_address(runs: Path, text: str) -> None:
    """Every parameter but that of the checkpoint at once, on one of the pages; then the checkpoint."""
    page = PAGES[TEXTS.index(text) % len(PAGES)]
    run = "runs/scale" if page == "scale_weights" else "runs/dual"
    hostile: dict[str, Any] = dict.fromkeys((name for name in NAMES if name != "checkpoint"), text)
    clean(opened(page, checkpoint=run, **hostile), runs)
    kept = {name: value for name, value in hostile.items() if name not in ("data", "photo", "upload", "claims")}
    clean(opened(page, checkpoint=run, **kept), runs)
    test = opened(page, checkpoint=text)
    clean(test, runs)
    assert test.error or text.strip() == ""


@pytest.mark.parametrize("text", [text for text in TEXTS if text[0] in "./~" or ".." in text])
def test_no_path_that_leads_out_is_inside(runs: Path, text: str) -> None:
    assert not is_inside(text)


def files() -> dict[str, bytes]:
    """What is no photograph of the three formats, or a dangerous one."""
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (40, 30, 3), np.uint8))

    def saved(kind: str, **options: Any) -> bytes:
        stream = BytesIO()
        picture.save(stream, kind, **options)
        return stream.getvalue()

    found = {kind: saved(kind) for kind in ("GIF", "BMP", "TIFF", "PPM", "PDF", "EPS", "ICO", "TGA", "PCX")}
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = saved(kind)
        found |= {f"{kind} cut at {n}": whole[:n] for n in (1, 8, 12, 30, len(whole) // 2)}
        found[f"{kind} of zeros"] = whole[:16] + bytes(200)
    header = png(np.zeros((4, 4), np.uint8))
    found["a bomb by its header"] = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    texts = {
        "svg": b"<svg onload=alert(1)>",
        "html": b"<html><script>alert(1)</script>",
        "pickle": b"cos\nsystem\n(S'touch pwned'\ntR.",
        "zip": b"PK\x03\x04" + bytes(50),
        "elf": b"\x7fELF" + bytes(50),
        "nothing": b"",
        "text": b"\xff\xfe",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch pwned)",
    }
    noise = {f"noise {seed}": np.random.default_rng(seed).bytes(100) for seed in range(20)}
    return found | texts | noise


@pytest.mark.parametrize(("name", "content"), files().items(), ids=files())
def test_a_hostile_upload_is_refused_in_one_line(folder: Path, name: str, content: bytes) -> None:
    with pytest.raises(AnalysisError) as error:
        uploaded(f"<b>{name}</b>.png", content)
    assert "\n" not in str(error.value) and not (folder / "pwned").exists()


def test_an_upload_of_too_many_bytes_is_refused() -> None:
    with pytest.raises(AnalysisError, match="more than 50 MB"):
        uploaded("large.png", bytes((50 << 20) + 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_upload_is_turned_upright(orientation: int) -> None:
    upright = Image.new("RGB", (64, 32))
    upright.paste((255, 255, 255), (0, 0, 32, 16))  # the top left quarter
    turns = {
        **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
        **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif, stream = Image.Exif(), BytesIO()
    exif[0x0112] = orientation
    stored.save(stream, "PNG", exif=exif)
    photo = uploaded("a.png", stream.getvalue())
    assert photo.image.shape == (32, 64, 3) and (photo.image == np.asarray(upright)).all()


def test_there_are_enough_hostile_inputs() -> None:
    assert len(TEXTS) * len(NAMES) + len(files()) > 500
