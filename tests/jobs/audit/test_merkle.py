"""RFC 6962's tree, held to its definition, to the vectors of Certificate Transparency, and to what
proofs are for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from cascade_jobs.audit.merkle import (
    EMPTY,
    Frontier,
    consistency_proof,
    is_consistent,
    leaf_hash,
    root_of,
)
from hypothesis import given
from hypothesis import strategies as st

# Of the reference implementation of Certificate Transparency: its eight entries, the root over the
# first n of them, and its proofs.
ENTRIES = [
    bytes.fromhex(each)
    for each in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                 "606162636465666768696a6b6c6d6e6f")
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PROOFS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def defined(entries: Sequence[bytes]) -> bytes:
    """MTH of section 2.1, as it stands there."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    inner = defined(entries[:split]) + defined(entries[split:])
    return hashlib.sha256(b"\x01" + inner).digest()


def proof_defined(before: int, entries: Sequence[bytes], is_known: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2, as it stands there."""
    if before == len(entries):
        return [] if is_known else [defined(entries)]
    split = 1
    while split * 2 < len(entries):
        split *= 2
    if before <= split:
        return [*proof_defined(before, entries[:split], is_known), defined(entries[split:])]
    rest = proof_defined(before - split, entries[split:], False)
    return [*rest, defined(entries[:split])]


def hashes(entries: Sequence[bytes]) -> list[bytes]:
    return [leaf_hash(each) for each in entries]


some_entries = st.lists(st.binary(max_size=4), max_size=70)


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    assert root_of(hashes(ENTRIES[:size])).hex() == ROOTS[size]
    assert EMPTY.hex() == ROOTS[0]


@pytest.mark.parametrize("sizes", PROOFS)
def test_proofs_are_those_of_certificate_transparency(sizes: tuple[int, int]) -> None:
    before, after = sizes
    proof = consistency_proof(hashes(ENTRIES[:after]), before)
    assert [each.hex() for each in proof] == PROOFS[sizes]


@given(some_entries)
def test_roots_are_those_of_the_definition(entries: list[bytes]) -> None:
    tree = Frontier()
    for size, entry in enumerate(entries):
        assert tree.root == defined(entries[:size])
        tree.add(leaf_hash(entry))
    assert (tree.size, tree.root) == (len(entries), defined(entries))


@given(some_entries.filter(bool), st.data())
def test_proofs_are_those_of_the_definition_and_hold(
    entries: list[bytes], data: st.DataObject
) -> None:
    before = data.draw(st.integers(1, len(entries)))
    proof = consistency_proof(hashes(entries), before)
    assert proof == proof_defined(before, entries)
    roots = defined(entries[:before]), defined(entries)
    assert is_consistent(before, len(entries), *roots, proof)


@given(some_entries.filter(lambda each: len(each) > 1), st.data())
def test_nothing_else_is_proven(entries: list[bytes], data: st.DataObject) -> None:
    """Another beginning, a proof with a hash changed, left out or added, and other sizes."""
    size = len(entries)
    before = data.draw(st.integers(1, size - 1))
    proof = consistency_proof(hashes(entries), before)
    older, newer = defined(entries[:before]), defined(entries)
    other = [*entries]
    other[data.draw(st.integers(0, before - 1))] += b"!"
    assert not is_consistent(before, size, defined(other[:before]), newer, proof)
    assert not is_consistent(before, size, older, defined(other), proof)
    place = data.draw(st.integers(0, len(proof) - 1))
    assert not is_consistent(before, size, older, newer, proof[:place] + proof[place + 1 :])
    changed = [*proof[:place], leaf_hash(proof[place]), *proof[place + 1 :]]
    assert not is_consistent(before, size, older, newer, changed)
    assert not is_consistent(before, size, older, newer, [*proof, newer])
    assert not is_consistent(size, before, newer, older, proof)


def test_a_tree_has_no_proof_for_what_it_has_not() -> None:
    for before in (0, 4):
        with pytest.raises(ValueError, match="allowed: 1 to 3"):
            consistency_proof(hashes(ENTRIES[:3]), before)
    assert not is_consistent(0, 3, EMPTY, root_of(hashes(ENTRIES[:3])), [])
