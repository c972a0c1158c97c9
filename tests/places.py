"""Where things lie that tests read."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "runs" / "smoke" / "classification.toml"
DATA = Path(os.environ.get("COHOBATE_TEST_DATA", ROOT.parent / "shared" / "data"))
