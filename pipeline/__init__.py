"""What the scripts of the workshop share; each module says what it hides."""
