"""Every retailer keeps its subtotals. Together they learn only the grand total."""

__version__ = "0.1.0"
