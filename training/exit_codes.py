"""Exit codes of `lamo-train`: 0 where all went well."""

FAILED = 1
"""Something else went wrong, which the last line says."""

INPUT_ERROR = 2
"""Something given cannot be used."""

INTERRUPTED = 130
"""A signal came; what was done is saved."""
