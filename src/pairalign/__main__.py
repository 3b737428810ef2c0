"""`python -m pairalign`, for launchers such as torchrun: `torchrun --nproc-per-node 2 -m pairalign align …`."""

from __future__ import annotations

import sys

from pairalign.cli.main import main

sys.exit(main())
