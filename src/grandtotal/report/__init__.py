"""The report of a run: one offline page, read from the run folder and from nothing else."""
