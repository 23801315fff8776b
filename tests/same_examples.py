"""Hypothesis draws the same examples in every run, whatever has been imported before a test.

Its `derandomize` promises that. But it also draws constants that it finds in the code of those modules of ours that are
loaded by then, and in a process of several that share the tests out these are never the same. In a new clone to look
for them takes a quarter of the time in which the tests are collected, too.
"""

from hypothesis.internal.conjecture import providers

constants_of_loaded_modules = providers._get_local_constants
"""Hypothesis' own. `test_same_examples.py` tells when this file can go."""


def draw_no_constants_of_our_code() -> None:
    """Leave to Hypothesis the constants that it always has."""
    providers._get_local_constants = providers.Constants
