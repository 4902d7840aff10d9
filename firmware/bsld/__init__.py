"""The core of an ILP1 smart lock (BSLD, 6.5 of ISO/IEC 14543-5-104 [P]).

Runs unchanged on MicroPython >= 1.23 and CPython >= 3.14. Everything outside the core (motor,
sensors, clocks, storage, random numbers, radio) is a port: see `ports`.
"""
