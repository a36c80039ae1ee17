"""Offline training: recorded trajectories and a pretrained language model in, a merged checkpoint out."""
