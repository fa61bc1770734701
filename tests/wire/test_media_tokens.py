"""What an image or a PDF is estimated to cost, by its header and its size."""

import base64
import struct

import pytest

from extproc.wire.media_tokens import IMAGE_MAX, image_tokens, pdf_tokens

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 750, 10)
GIF = b"GIF89a" + struct.pack("<HH", 75, 100)
JPEG = b"\xff\xd8\xff\xe0\0\4ab\xff\xc0\0\x11\x08" + struct.pack(">HH", 75, 100)
VP8X = b"RIFF\0\0\0\0WEBPVP8X" + b"\0" * 8 + (74).to_bytes(3, "little") + (99).to_bytes(3, "little")
VP8L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (74 | 99 << 14).to_bytes(4, "little") + b"\0" * 5
VP8 = b"RIFF\0\0\0\0WEBPVP8 " + b"\0" * 10 + struct.pack("<HH", 75, 100)


def data_url(raw: bytes) -> str:
    return "data:image/x;base64," + base64.b64encode(raw).decode()


@pytest.mark.parametrize("raw", [PNG, GIF, JPEG, VP8X, VP8L, VP8])
def test_images_by_size(raw: bytes) -> None:
    assert image_tokens(data_url(raw)) == 10


@pytest.mark.parametrize("raw", [b"", b"?", PNG[:20], JPEG[:8], b"\xff\xd8\xff\xe0\0\0aaaaaaa", VP8X[:20], GIF[:8]])
def test_images_of_unknown_size(raw: bytes) -> None:
    assert image_tokens(data_url(raw)) == IMAGE_MAX


def test_images_by_url_and_large_ones() -> None:
    assert image_tokens("https://e.com/a.png") == IMAGE_MAX
    assert image_tokens("data:image/png;base64,%%%") == IMAGE_MAX
    assert image_tokens(data_url(PNG[:16] + struct.pack(">II", 4000, 4000))) == IMAGE_MAX


def test_a_jpeg_says_its_size_after_what_comes_first() -> None:
    profile = b"\xff\xe2" + struct.pack(">H", 4002) + b"\0" * 4000
    assert image_tokens(data_url(JPEG[:2] + profile + JPEG[2:])) == 10


def test_base64_without_a_data_url() -> None:
    assert image_tokens(base64.b64encode(PNG).decode()) == 10
    assert image_tokens(data_url(PNG).replace("data:", "DATA:")) == 10


def test_a_pdf_by_its_size() -> None:
    assert pdf_tokens("A" * 133_336) == pdf_tokens("data:application/pdf;base64," + "A" * 133_336) == 1501
    assert pdf_tokens(None) == 1500
