"""Retail questions. Each file has two halves: what the coordinator does with totals, and what a
retailer does with its tables. The tables are imported only where rows are read."""
