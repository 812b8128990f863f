"""Triton kernels, one file each. Importing this package needs neither Triton nor a GPU."""
