"""What learns: the config, the network and what trains in it, the losses, and one update."""
