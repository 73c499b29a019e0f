"""The command line: one thin module per stage of the pipeline."""
