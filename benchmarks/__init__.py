"""What the product promises, measured: `python -m benchmarks NAME`, one file per benchmark."""
