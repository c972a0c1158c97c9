"""The tasks whose answers are looked at image by image, and how."""

from cohobate.analysis.boxes import BoxView
from cohobate.analysis.masks import MaskView
from cohobate.analysis.view import View

VIEWS: dict[str, type[View]] = {"detection": BoxView, "segmentation": MaskView}
"""A view by the name of its task; the answer of any other task is one class for a whole image."""
