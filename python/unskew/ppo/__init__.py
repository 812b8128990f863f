"""Policy optimisation with any reward."""
