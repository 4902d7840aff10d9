"""Stands in for the package `pyspeex-noise`, which has no wheel for CPython 3.14. The demo only, and only when missing.

Home Assistant imports it at every start for voice assistants, which the demo does not have.
"""


class AudioProcessor:
    """The class that Home Assistant imports; never used in the demo."""

    def __init__(self, auto_gain: float, noise_suppression: float) -> None:
        """Take what Home Assistant gives: both in decibels."""
        del auto_gain, noise_suppression
