"""API keys: what is kept of them, and that nothing else opens."""

from __future__ import annotations

from cascade_server.access import keys
from hypothesis import given
from hypothesis import strategies as st


class TestNewKeys:
    """A key can be told from other texts, and nobody can find it from what is kept."""

    def test_it_is_named_long_and_never_the_same(self) -> None:
        key, record = keys.new_key()
        assert keys.KEY.fullmatch(key)
        assert key.startswith(record.id + "_")
        assert len(key.removeprefix(record.id + "_")) == 43  # 256 bits in base64url
        assert keys.new_key()[0] != key

    def test_what_is_kept_has_no_part_of_the_secret(self) -> None:
        key, record = keys.new_key()
        assert key.removeprefix(record.id + "_") not in repr(record)


class TestFinding:
    """The very key opens, and no other text does."""

    def test_the_key(self) -> None:
        key, record = keys.new_key()
        assert record == keys.find(key, {record.id: record})

    def test_another_secret_under_the_same_name(self) -> None:
        key, record = keys.new_key()
        other = record.id + keys.new_key()[0].removeprefix(key[: len(record.id)])[len(record.id) :]
        assert keys.find(other, {record.id: record}) is None

    def test_a_name_that_there_is_not(self) -> None:
        _, record = keys.new_key()
        assert keys.find(keys.new_key()[0], {record.id: record}) is None

    @given(st.text(max_size=100))
    def test_any_other_text(self, text: str) -> None:
        _, record = keys.new_key()
        assert keys.find(text, {record.id: record}) is None
        assert keys.find(record.id + "_" + text, {record.id: record}) is None
