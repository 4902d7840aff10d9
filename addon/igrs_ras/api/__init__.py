"""Clause 7's interfaces over HTTP: routes, who may use them, how they answer."""
