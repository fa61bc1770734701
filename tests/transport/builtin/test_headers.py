"""RFC 7541 for a decoder: the RFC's own examples, and blocks that are none."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.transport.builtin.frames import Code, ConnectionFailed
from extproc.transport.builtin.headers import Block, BlockReader

FIRST = {":method": "GET", ":scheme": "http", ":path": "/", ":authority": "www.example.com"}
SECOND = {**FIRST, "cache-control": "no-cache"}
THIRD = {**FIRST, ":scheme": "https", ":path": "/index.html", "custom-key": "custom-value"}
# https://www.rfc-editor.org/rfc/rfc7541#appendix-C.3 and C.4, the latter with Huffman codes
EXAMPLES = [
    ["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
     "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"],
    ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
     "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"],
]  # fmt: skip


def headers(block: Block) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in block.request().headers.items()}


@pytest.mark.parametrize("blocks", EXAMPLES, ids=["C.3", "C.4"])
def test_the_examples_of_the_rfc(blocks: list[str]) -> None:
    reader = BlockReader()
    assert [headers(reader.read(bytes.fromhex(block))) for block in blocks] == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param("80", id="6.1 index 0"),
        pytest.param("be", id="2.3.3 an index beyond the table"),
        pytest.param("ff80ffffffff0f", id="2.3.3 a huge index"),
        pytest.param("7e0161", id="2.3.3 a name's index beyond the table"),
        pytest.param("ff", id="5.1 a number without its end"),
        pytest.param("ff" + "80" * 40 + "01", id="5.1 a number of very many bytes"),
        pytest.param("00", id="5.2 no name"),
        pytest.param("000561", id="5.2 a name cut short"),
        pytest.param("0001610562", id="5.2 a value cut short"),
        pytest.param("000161", id="5.2 no value"),
        pytest.param("0001618f", id="5.2 a Huffman code cut short"),
        pytest.param("000161821fff", id="5.2 padding of more than 7 bits"),
        pytest.param("0001618118", id="5.2 padding that is not of ones"),
        pytest.param("00016184fffffffc", id="5.2 the code for the end of a string"),
        pytest.param("3fe21f", id="6.3 a table larger than ours"),
        pytest.param("823f00", id="4.2 a new size behind a field"),
    ],
)
def test_what_is_no_block(block: str) -> None:
    with pytest.raises(ConnectionFailed) as raised:
        BlockReader().read(bytes.fromhex(block))
    assert raised.value.code is Code.COMPRESSION_ERROR


def test_a_size_is_set_before_the_fields() -> None:
    """4.2: also twice, when the smallest one is below the last one."""
    reader = BlockReader()
    reader.read(bytes.fromhex(EXAMPLES[0][0]))
    assert headers(reader.read(bytes.fromhex("20" + "3fe11f" + EXAMPLES[0][0]))) == FIRST
    with pytest.raises(ConnectionFailed):
        reader.read(b"\x20\xbe")  # forgotten with the table


FIELD = st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "1", "2" * 100, "3" * 2000]))
BLOCKS = st.lists(st.tuples(st.lists(FIELD, max_size=4), st.none() | st.sampled_from([0, 50, 200, 4096])), max_size=8)


@given(BLOCKS)
def test_blocks_mean_what_they_mean_to_another_decoder(blocks: list[tuple[list[tuple[str, str]], int | None]]) -> None:
    """Those that come again, too, whatever happened to the table between."""
    encoder, other, reader = hpack.Encoder(), hpack.Decoder(), BlockReader()
    for fields, table_size in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        for _ in range(3):
            block = encoder.encode(fields)
            expected = [tuple(field) for field in other.decode(block, raw=True)]
            assert reader.read(block)._fields == expected


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_whatsoever_raise_anything_else(blocks: list[bytes]) -> None:
    reader = BlockReader()
    for block in blocks:
        try:
            reader.read(block)
        except ConnectionFailed:
            return
