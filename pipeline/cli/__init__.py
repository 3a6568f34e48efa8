"""Options, signals and exit codes, output: what a command line program needs. Knows no Kafka."""
