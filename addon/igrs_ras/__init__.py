"""The remote access server (RAS) of IGRS Lock: ISO/IEC 14543-5-104, clauses 6.2 and 7.

It carries sealed messages between people and the gateways of their homes, and holds no key that opens a door.
"""

__version__ = "0.1.0"
