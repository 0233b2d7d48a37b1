"""Who is let in without a login."""

from __future__ import annotations

import pytest

from natscore.account.anonymous import Anonymous, LoginSettings, anonymous

FREE = Anonymous.IN_GLOBAL_ACCOUNT
NAMED = Anonymous.AS_NO_AUTH_USER
INVENTED = Anonymous.AS_INVENTED_USER
REFUSED = Anonymous.REFUSED

SYSTEM = ("$SYS",)
A = ("A",)
BOTH = ("$SYS", "A")

# authorization, accounts, accounts with users, no_auth_user, operators, system account: outcome
GOLDEN = [
    (False, (), (), False, False, "$SYS", FREE),
    (False, (), (), False, False, None, FREE),
    (False, A, (), False, False, "$SYS", FREE),
    (False, SYSTEM, (), False, False, "$SYS", FREE),
    (False, SYSTEM, SYSTEM, False, False, "$SYS", INVENTED),
    (False, A, A, False, False, "A", INVENTED),
    (False, A, A, False, False, "$SYS", REFUSED),
    (False, A, A, False, False, None, REFUSED),
    (False, SYSTEM, SYSTEM, False, False, None, REFUSED),
    (False, BOTH, SYSTEM, False, False, "$SYS", REFUSED),
    (False, BOTH, BOTH, False, False, "$SYS", REFUSED),
    (False, BOTH, A, False, False, "$SYS", REFUSED),
    (True, (), (), False, False, "$SYS", REFUSED),
    (True, SYSTEM, SYSTEM, False, False, "$SYS", REFUSED),
    (True, A, (), False, False, "$SYS", REFUSED),
    (True, BOTH, SYSTEM, False, False, "$SYS", REFUSED),
    (False, SYSTEM, SYSTEM, True, False, "$SYS", NAMED),
    (False, A, A, True, False, "$SYS", NAMED),
    (True, A, A, True, False, "$SYS", NAMED),
    (True, (), (), True, False, "$SYS", NAMED),
    (False, (), (), False, True, "$SYS", REFUSED),
    (False, SYSTEM, SYSTEM, False, True, "$SYS", REFUSED),
    (True, A, A, True, True, "$SYS", REFUSED),
]


@pytest.mark.spec("accounts 3", "accounts 17:1")
@pytest.mark.parametrize(
    ("authorization", "accounts", "with_users", "no_auth_user", "operators", "system", "outcome"), GOLDEN
)
def test_what_becomes_of_a_client_without_credentials(
    authorization: bool,
    accounts: tuple[str, ...],
    with_users: tuple[str, ...],
    no_auth_user: bool,
    operators: bool,
    system: str | None,
    outcome: Anonymous,
) -> None:
    settings = LoginSettings(
        authorization=authorization,
        accounts=accounts,
        accounts_with_users=with_users,
        system_account=system,
        no_auth_user=no_auth_user,
        operators=operators,
    )

    assert anonymous(settings) is outcome
