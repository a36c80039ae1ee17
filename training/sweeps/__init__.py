"""Many runs: grids, and what trains them side by side, here or on a Ray cluster."""
