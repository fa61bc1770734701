"""The ledger of calls: who asked which model, how many tokens that took, and what it cost."""
