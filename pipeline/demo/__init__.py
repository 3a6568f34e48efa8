"""run.sh: the four scripts in one terminal, and a summary of the run."""
