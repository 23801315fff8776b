"""Sizes in bytes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatq.contract.sizes import between, format_size, parse_size
from for_each import for_each


@for_each(
    ("written", "size"),
    [
        ("4GiB", 4294967296),
        ("8MiB", 8388608),
        ("1KiB", 1024),
        ("1TiB", 1099511627776),
        ("500kB", 500000),
        ("2MB", 2000000),
        ("3GB", 3000000000),
        ("1.5KiB", 1536),
        ("0.0001KiB", 0),
        ("8mib", 8388608),
        ("8 MiB", 8388608),
        ("12B", 12),
        ("12", 12),
        (12, 12),
        (0, 0),
    ],
)
def test_a_size_is_read_as_bytes(written: object, size: int) -> None:
    assert parse_size(written) == size


@for_each(
    "written", ["", "MiB", "1.5", "8 M iB", "8MiBs", "-1", "1_000", "8Mi", "9" * 50, None, True, 1.5, []]
)
def test_what_is_no_size_is_refused_with_examples(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as 8MiB, 4GiB, 500kB or plain bytes, got "):
        parse_size(written)


def test_a_lone_letter_is_refused_with_the_unit_to_write() -> None:
    with pytest.raises(ValueError, match=r'got "4G"; write 4GiB$'):
        parse_size("4G")


@pytest.mark.parametrize("written", [-1, "65TiB", 10**30])
def test_a_size_is_from_zero_to_64_tebibytes(written: object) -> None:
    with pytest.raises(ValueError, match="expected a size from 0 to 64TiB, got "):
        parse_size(written)


@for_each(("size", "written"), [(0, "0B"), (1500, "1500B"), (4294967296, "4GiB"), (1536, "1536B")])
def test_bytes_are_written_in_the_largest_unit_that_is_exact(size: int, written: str) -> None:
    assert format_size(size) == written


@given(st.integers(min_value=0, max_value=64 * 2**40))
def test_what_is_written_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_a_size_out_of_its_bounds_is_refused_with_both_bounds() -> None:
    with pytest.raises(ValueError, match="expected a size from 1B to 8MiB, got 9MiB"):
        between(1, 8 * 2**20)(9 * 2**20)
