"""Who asks, who answers, and how it travels."""
