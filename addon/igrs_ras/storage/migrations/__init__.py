"""The schema's history. Each revision only adds (expand); what nobody uses any more goes in a later one (contract)."""
