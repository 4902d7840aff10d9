"""What the server keeps: one database, SQLite or PostgreSQL, behind one writer thread."""
