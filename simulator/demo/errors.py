"""What can go wrong in the demo, said so that a person can act on it."""


class DemoError(Exception):
    """Something in the way of the demo. The text is for the person at the terminal."""


class RefusedError(DemoError):
    """Home Assistant or the simulator answered a request with an error."""
