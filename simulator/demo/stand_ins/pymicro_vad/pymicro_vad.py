"""Stands in for the package `pymicro-vad`, which has no wheel for CPython 3.14. The demo only, and only when missing.

Home Assistant imports it at every start for voice assistants, which the demo does not have.
"""


class MicroVad:
    """The class that Home Assistant imports; never used in the demo."""

    def process_10ms(self, audio: bytes) -> float:
        """Probability of speech in 10 ms of sound: none."""
        del audio
        return 0.0
