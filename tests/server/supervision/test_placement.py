"""Connections are spread evenly over workers."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from cascade_server.memory import Memory
from cascade_server.supervision.placement import Board, Placement, least_connections


class TestChoice:
    """Who is to have a new connection."""

    def test_who_has_the_fewest(self) -> None:
        assert least_connections(0, [3, 1, 2], [True] * 3) == 1

    def test_who_was_given_it_where_nobody_has_fewer(self) -> None:
        assert least_connections(2, [1, 1, 1], [True] * 3) == 2
        assert least_connections(0, [2, 3, 2], [True] * 3) == 0

    def test_nobody_who_does_not_answer_yet(self) -> None:
        assert least_connections(0, [5, 0, 6], [True, False, True]) == 0

    def test_whoever_answers_if_oneself_does_not(self) -> None:
        assert least_connections(0, [0, 5, 6], [False, True, True]) == 1

    def test_oneself_while_nobody_answers(self) -> None:
        assert least_connections(1, [4, 5], [False, False]) == 1


@pytest.fixture
def workers() -> Iterator[list[Placement]]:
    board = Board(2, Memory())
    found = [Placement(board, place) for place in range(2)]
    for each in found:
        each.says_ready(True)
    yield found
    board.close()


class TestHandingOver:
    """A connection goes from one to the other, whole."""

    def test_the_other_has_it(self, workers: list[Placement]) -> None:
        workers[0].opened()
        ours, peer = socket.socketpair()
        with ours, peer:
            assert workers[0].gives_away(ours.fileno())
            ours.close()
            taken = workers[1].take()
            assert taken is not None
            with taken:
                peer.sendall(b"hello")
                assert taken.recv(10) == b"hello"
        assert workers[1].take() is None

    def test_what_is_on_its_way_counts(self, workers: list[Placement]) -> None:
        """A burst is shared, though nothing of it has arrived yet."""
        given = []
        for _ in range(6):
            ours, peer = socket.socketpair()
            with ours, peer:
                given.append(workers[0].gives_away(ours.fileno()))
                if not given[-1]:
                    workers[0].opened()
        assert given == [False, True, False, True, False, True]

    def test_what_was_closed_counts_no_more(self, workers: list[Placement]) -> None:
        workers[0].opened()
        workers[0].closed()
        ours, peer = socket.socketpair()
        with ours, peer:
            assert not workers[0].gives_away(ours.fileno())

    def test_the_next_in_a_place_takes_what_was_on_its_way(self) -> None:
        board = Board(2, Memory())
        first, other = Placement(board, 0), Placement(board, 1)
        first.says_ready(True)
        other.says_ready(True)
        other.opened()
        ours, peer = socket.socketpair()
        with ours, peer:
            assert other.gives_away(ours.fileno())
            again = Placement(board, 0)
            taken = again.take()
            assert taken is not None
            taken.close()
        board.close()

    def test_what_cannot_be_handed_over_is_kept(self, workers: list[Placement]) -> None:
        workers[0].opened()
        kept = 0
        for _ in range(2000):
            ours, peer = socket.socketpair()
            with ours, peer:
                if not workers[0].gives_away(ours.fileno()):
                    kept += 1
                    break
                # As if it had gone to one that does not take it: only what is queued is bounded.
                workers[0].opened()
                workers[0].opened()
        assert kept == 1


class TestAWorkerThatDies:
    """It is handed nothing more, and who was on his way to it is another's."""

    @pytest.fixture
    def board(self) -> Iterator[Board]:
        board = Board(3, Memory())
        yield board
        board.close()

    def placed(self, board: Board, *ready: int) -> list[Placement]:
        found = [Placement(board, place) for place in range(3)]
        for place in ready:
            found[place].says_ready(True)
        return found

    def hand(self, giver: Placement) -> socket.socket:
        """The other end of a connection that is given away."""
        ours, peer = socket.socketpair()
        with ours:
            assert giver.gives_away(ours.fileno())
        return peer

    def test_nothing_is_handed_to_it(self, board: Board) -> None:
        workers = self.placed(board, 0, 1)
        workers[0].opened()
        board.left(1)
        ours, peer = socket.socketpair()
        with ours, peer:
            assert not workers[0].gives_away(ours.fileno())

    def test_others_take_what_was_on_its_way(self, board: Board) -> None:
        workers = self.placed(board, 0, 1, 2)
        workers[0].opened()
        workers[2].opened()
        peers = [self.hand(workers[0])]
        board.left(1)
        taken = [each.take() for each in workers]
        assert [each is not None for each in taken] == [True, False, False]
        with peers[0], taken[0] as found:  # type: ignore[union-attr]
            peers[0].sendall(b"hello")
            assert found.recv(10) == b"hello"
        assert int((board.sent - board.taken).sum()) == 0

    def test_the_next_one_takes_it_where_nobody_else_can(self, board: Board) -> None:
        workers = self.placed(board, 1)
        with self.hand(workers[0]):
            board.left(1)
            taken = Placement(board, 1).take()
            assert taken is not None
            taken.close()
        assert int((board.sent - board.taken).sum()) == 0
