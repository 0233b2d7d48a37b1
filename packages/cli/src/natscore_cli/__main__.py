"""`python -m natscore_cli` is `nats-server-py`."""

from __future__ import annotations

import sys

from natscore_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
