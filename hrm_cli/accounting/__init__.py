"""What a model costs: parameters, FLOPs, memory, budgets, the ledger of published figures."""
