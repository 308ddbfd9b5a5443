"""Models from totals. An algorithm sees a `Totals` and nothing of who holds the rows."""
