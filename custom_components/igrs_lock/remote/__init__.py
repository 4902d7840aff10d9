"""Remote access: this home's gateway on a remote access server (docs/ras.md)."""
