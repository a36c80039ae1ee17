"""What is watched while a run trains, and the signatures of failure in it."""
