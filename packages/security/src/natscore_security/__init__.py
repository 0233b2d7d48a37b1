"""natscore_security: NKeys, passwords and configured users.

What stands here needs no server. The modules `authenticator` and `performers` are
the two sides that natscore sees: what decides about logins, and what compares
password hashes for it.
"""

from natscore_security.errors import KeyFormatError, SealBroken, SecurityError, UsersError
from natscore_security.nkeys import CurveKeyPair, KeyPair, decode_signature, encode_signature, verify
from natscore_security.strkey import (
    Kind,
    decode_private,
    decode_public,
    decode_seed,
    encode_private,
    encode_public,
    encode_seed,
    is_public,
)
from natscore_security.users import NkeyUser, User

__all__ = [
    "CurveKeyPair",
    "KeyFormatError",
    "KeyPair",
    "Kind",
    "NkeyUser",
    "SealBroken",
    "SecurityError",
    "User",
    "UsersError",
    "decode_private",
    "decode_public",
    "decode_seed",
    "decode_signature",
    "encode_private",
    "encode_public",
    "encode_seed",
    "encode_signature",
    "is_public",
    "verify",
]
