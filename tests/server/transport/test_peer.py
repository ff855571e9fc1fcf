"""Who is at the other end of a connection: what a certificate says, and what handlers are told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cascade_server.transport.peer import NOBODY, Peer, certificate_names, peer_of

SUBJECT = ((("organizationName", "Bank"),), (("commonName", "scoring"),))


class TestCertificateNames:
    """Whom a verified certificate names."""

    @pytest.mark.parametrize("certificate", [None, {}])
    def test_none_where_nobody_has_shown_one(self, certificate: dict[str, object] | None) -> None:
        assert certificate_names(certificate) == ()

    def test_alternative_names_come_before_the_common_name(self) -> None:
        alternative = (
            ("URI", "spiffe://bank/scoring"),
            ("DNS", "scoring.bank"),
            ("IP Address", "10.0.0.7"),
            ("email", "team@bank"),
        )
        found = certificate_names({"subject": SUBJECT, "subjectAltName": alternative})
        assert found == (
            "spiffe://bank/scoring",
            "scoring.bank",
            "10.0.0.7",
            "team@bank",
            "scoring",
        )

    def test_a_name_that_comes_twice_is_told_once(self) -> None:
        found = certificate_names({"subject": SUBJECT, "subjectAltName": (("DNS", "scoring"),)})
        assert found == ("scoring",)

    def test_what_names_nobody_is_left_out(self) -> None:
        alternative = (("DirName", "other"), ("Registered ID", "1.2.3"), ("DNS", ""))
        assert certificate_names({"subjectAltName": alternative}) == ()


class TestPeerOf:
    """What a handler is told, whichever transport has its call."""

    def test_of_this_servers_transport(self) -> None:
        peer = Peer("ipv4:10.0.0.7:5000", ("scoring",), True)
        assert peer_of(SimpleNamespace(sender=peer)) is peer

    def test_of_grpcio(self) -> None:
        context = SimpleNamespace(
            peer=lambda: "ipv4:10.0.0.7:5000",
            auth_context=lambda: {
                "transport_security_type": [b"ssl"],
                "x509_common_name": [b"scoring"],
                "x509_subject_alternative_name": [b"spiffe://bank/scoring", b"scoring"],
            },
        )
        expected = Peer("ipv4:10.0.0.7:5000", ("spiffe://bank/scoring", "scoring"), True)
        assert peer_of(context) == expected

    def test_of_grpcio_in_the_clear(self) -> None:
        context = SimpleNamespace(peer=lambda: "", auth_context=dict)
        assert peer_of(context) == NOBODY
