"""Costs of a model: parameters, FLOPs, memory, budgets, and the ledger of published figures."""
