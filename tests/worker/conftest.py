"""What tells callers of jobs is tested on the ledger's own driver."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "ledger"))
