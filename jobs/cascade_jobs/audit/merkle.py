"""The Merkle tree of RFC 6962: roots, and proofs that one log is a prefix of another.

A tree over n leaves splits at the largest power of two below n (section 2.1). Leaves and inner
nodes are hashed with different prefixes, so that neither can be passed off as the other. Two roots
and some hashes prove that nothing was changed between them; checking the proof requires no entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

LEAF, NODE = b"\x00", b"\x01"
# Root of a tree without leaves.
EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry, MTH({d}) of section 2.1."""
    return hashlib.sha256(LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two adjacent subtrees."""
    return hashlib.sha256(NODE + left + right).digest()


class Frontier:
    """A growing tree, as the roots of its perfect subtrees.

    There are as many as its size has ones in binary. Adding a leaf and computing the root take time
    logarithmic in the size.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._perfect: list[bytes] = []
        for each in leaves:
            self.add(each)

    def add(self, leaf: bytes) -> None:
        """Add one leaf, by its hash."""
        size, found = self.size, leaf
        while size & 1:
            found = node_hash(self._perfect.pop(), found)
            size >>= 1
        self._perfect.append(found)
        self.size += 1

    @property
    def root(self) -> bytes:
        """Hash of the whole tree, 32 bytes."""
        if not self._perfect:
            return EMPTY
        found = self._perfect[-1]
        for each in reversed(self._perfect[:-1]):
            found = node_hash(each, found)
        return found

    def copy(self) -> Frontier:
        """Return an independent copy of the tree."""
        other = Frontier()
        other.size, other._perfect = self.size, list(self._perfect)
        return other


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the hash of the tree over these leaf hashes."""
    return Frontier(leaves).root


def consistency_proof(leaves: Sequence[bytes], before: int) -> list[bytes]:
    """Return the proof that a tree begins with all leaves of an older one, PROOF(m, D[n]) of
    section 2.1.2.

    Args:
        leaves: hashes of all leaves.
        before: leaves of the older tree.

    Raises:
        ValueError: the older one is larger, or has no leaves.
    """
    if not 0 < before <= len(leaves):
        raise ValueError(f"before is {before}; allowed: 1 to {len(leaves)}")
    proof: list[bytes] = []
    first, end, is_known = 0, len(leaves), True
    # Descend from the whole tree to the node in which the older one ends.
    while first + (end - first) != before:
        half = _split(end - first)
        if before <= first + half:
            proof.append(root_of(leaves[first + half : end]))
            end = first + half
        else:
            proof.append(root_of(leaves[first : first + half]))
            first, is_known = first + half, False
    if not is_known:
        proof.append(root_of(leaves[first:end]))
    return proof[::-1]


def is_consistent(
    before: int, after: int, root_before: bytes, root_after: bytes, proof: Sequence[bytes]
) -> bool:
    """Return whether a proof shows that the newer tree begins with the older one (RFC 9162, section
    2.1.4.2, whose trees are RFC 6962's).

    Args:
        before, after: leaves of the trees.
        root_before, root_after: their hashes.
        proof: from `consistency_proof`.
    """
    if before == after:
        return not proof and root_before == root_after
    if not 0 < before < after:
        return False
    path = list(proof)
    if before & (before - 1) == 0:  # the older tree is one of the newer one's nodes
        path.insert(0, root_before)
    if not path:
        return False
    one, two = before - 1, after - 1
    while one & 1:
        one, two = one >> 1, two >> 1
    older = newer = path[0]
    for each in path[1:]:
        if two == 0:
            return False
        if one & 1 or one == two:
            older, newer = node_hash(each, older), node_hash(each, newer)
            while not one & 1 and one:
                one, two = one >> 1, two >> 1
        else:
            newer = node_hash(newer, each)
        one, two = one >> 1, two >> 1
    return two == 0 and older == root_before and newer == root_after


def _split(size: int) -> int:
    """Return the largest power of two below a size of two or more."""
    return 1 << ((size - 1).bit_length() - 1)
