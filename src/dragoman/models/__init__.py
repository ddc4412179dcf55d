"""Model files: the small catalogue, and their way into the user's cache."""

from dragoman.models.aids import PromptAids
from dragoman.models.catalogue import CatalogueModel, catalogue, find
from dragoman.models.fetching import fetch
from dragoman.models.resolve import LocalModel, cache_folder, locate

__all__ = [
    "CatalogueModel",
    "LocalModel",
    "PromptAids",
    "cache_folder",
    "catalogue",
    "fetch",
    "find",
    "locate",
]
