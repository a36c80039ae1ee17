"""Tasks: environment, data and how a policy is asked (the paper's, and anybody's own)."""
