"""What may leave a retailer, and in which form. `egress` is the only way out."""
