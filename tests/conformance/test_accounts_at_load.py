"""What the vectors of accounts say of the start: which configurations load, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from natscore.account.accounts import Accounts, resolve
from tests.conformance.account_runner import load
from tests.conformance.configurations import file_of

if TYPE_CHECKING:
    from tests.conformance.account_runner import AccountVector


@pytest.mark.spec("accounts 4", "accounts 16")
@pytest.mark.parametrize("vector", [one for one in load() if one.error is None], ids=str)
def test_accounts_of_a_vector_that_runs_are_accepted(vector: AccountVector) -> None:
    settings = file_of(vector.config).accounts
    declared = {account.name: account for account in settings.accounts}

    made = resolve(settings)

    assert isinstance(made, Accounts), made
    assert {"$G", "$SYS", *declared} == {account.name for account in made}
    for account in made:
        wanted = len(declared[account.name].imports) if account.name in declared else 0
        assert len(account.streams) + sum(not one.is_internal for one in account.services) == wanted
