"""People: their accounts, sign-in, sessions, second steps (clauses 7.1 and 7.2)."""
