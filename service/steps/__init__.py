"""Steps: from an act that is asked for to its commit and its answer."""
