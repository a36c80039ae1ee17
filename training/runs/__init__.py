"""A run from its command line to its exported policy: the loop, its folder, its snapshots, its evaluations."""
