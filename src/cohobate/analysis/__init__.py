"""What runs have shown: compared as numbers, drawn as figures, told in one HTML page."""
