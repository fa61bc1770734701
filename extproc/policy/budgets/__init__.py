"""Budgets: what callers may use, counted by identity. Which apply, what a call reserves, and what it used."""
