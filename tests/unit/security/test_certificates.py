"""Which names a certificate goes by, and in which order."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natscore.events import Certificate
from natscore_security.certificates import CertificateUsers, parsed_name

Subject = tuple[tuple[tuple[str, str], ...], ...]

ACME: Final[Subject] = ((("C", "US"),), (("O", "Acme"),), (("CN", "bob"),))
WITH_DOMAIN: Final[Subject] = ((("DC", "com"),), (("DC", "example"),), (("CN", "bob"),))


def candidates(
    users: list[str],
    subject: Subject = (),
    emails: tuple[str, ...] = (),
    dns_names: tuple[str, ...] = (),
    uris: tuple[str, ...] = (),
) -> list[str]:
    certificate = Certificate(
        subject=subject, emails=emails, dns_names=dns_names, uris=uris, key_sha256="", sha256=""
    )
    return list(CertificateUsers(dict.fromkeys(users)).candidates(certificate))


@pytest.mark.spec("client-protocol 17.3")
def test_mail_addresses_come_before_dns_names_before_uris_before_the_subject() -> None:
    users = ["CN=bob,O=Acme,C=US", "spiffe://bob", "bob.test", "bob@acme", "b@acme"]

    found = candidates(users, ACME, ("b@acme", "x@acme", "bob@acme"), ("bob.test",), ("spiffe://bob",))

    assert list(dict.fromkeys(found)) == ["b@acme", "bob@acme", "bob.test", "spiffe://bob", users[0]]


@pytest.mark.spec("client-protocol 17.3")
@pytest.mark.parametrize(
    "user",
    [
        "CN=bob,O=Acme,C=US",
        "cn=bob, o=Acme, c=US",
        "C=US,O=Acme,CN=bob",
        "O=Acme,CN=bob,C=US",
        r"CN=b\6fb,O=Acme,C=US",
        "CN=bob  ,O=Acme,C=US ",
    ],
)
def test_user_whose_name_says_the_distinguished_name_is_found(user: str) -> None:
    assert set(candidates([user], ACME)) == {user}


@pytest.mark.spec("client-protocol 17.3")
@pytest.mark.parametrize(
    "user",
    ["bob", "CN=bob", "CN=Bob,O=Acme,C=US", "CN=bob,O=Acme", "CN=bob,O=Acme,C=US,C=US", "CN=bob+O=Acme,C=US",
     "CN=bob,O=Acme,C=#5553", "CN=bob,O=Acme,C=US,", "", "CN=bob,O=Acme,,C=US", r"CN=bob,O=Acme,C=U\zz"],
)  # fmt: skip
def test_user_whose_name_says_another_is_not(user: str) -> None:
    assert candidates([user], ACME) == ([] if user != "CN=bob,O=Acme,C=US," else [user, user])


@pytest.mark.spec("client-protocol 17.3")
def test_exact_order_is_preferred() -> None:
    users = ["C=US,O=Acme,CN=bob", "CN=bob,O=Acme,C=US"]

    assert candidates(users, ACME)[0] == "CN=bob,O=Acme,C=US"


@pytest.mark.spec("client-protocol 17.3")
def test_domain_components_are_part_of_the_name() -> None:
    assert candidates(["CN=bob,DC=example,DC=com"], WITH_DOMAIN) == ["CN=bob,DC=example,DC=com"] * 2
    assert candidates(["CN=bob,DC=com,DC=example"], WITH_DOMAIN) == ["CN=bob,DC=com,DC=example"] * 2
    assert candidates(["CN=bob"], WITH_DOMAIN) == ["CN=bob"]  # the last resort leaves them out


@pytest.mark.spec("client-protocol 17.3")
def test_subject_with_attributes_of_other_kinds_is_compared_as_go_writes_it() -> None:
    subject: Subject = ((("UID", "7"),), (("O", "A,B"),), (("OU", "x"),), (("OU", "y"),), (("CN", "#bob "),))

    assert candidates([r"CN=\#bob\ ,OU=x+OU=y,O=A\,B"], subject) == [r"CN=\#bob\ ,OU=x+OU=y,O=A\,B"]


@pytest.mark.spec("client-protocol 17.3")
def test_part_of_several_attributes_has_no_order() -> None:
    assert set(candidates(["O=Acme+CN=bob,C=US"], ((("C", "US"),), (("CN", "bob"), ("O", "Acme"))))) == {
        "O=Acme+CN=bob,C=US"
    }


@given(st.text('CNO=,+\\ #6f"b', max_size=30))
def test_any_text_is_a_name_or_none(text: str) -> None:
    name = parsed_name(text)

    assert name is None or all(attribute for part in name for attribute, _ in part)
