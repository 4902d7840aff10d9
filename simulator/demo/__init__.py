"""The demo: a real Home Assistant beside simulated locks and a remote access server, for looking at and for checking end to end.

`python -m simulator.demo` runs them as processes of their own on loopback; `--check` does unattended what a person
would do, through Home Assistant's own HTTP and WebSocket interfaces. For development only: whoever can reach the
loopback of the machine is signed in as the owner.
"""
