"""Where things lie that tests read."""

import os
from pathlib import Path

from cohobate.methods import METHODS

ROOT = Path(__file__).parents[1]
SMOKE = ROOT / "runs" / "smoke" / "classification.toml"
DATA = Path(os.environ.get("COHOBATE_TEST_DATA", ROOT.parent / "shared" / "data"))

CLASSIFYING = [name for name, kind in METHODS.items() if "classification" in kind.tasks]
"""The methods that train classifiers."""
