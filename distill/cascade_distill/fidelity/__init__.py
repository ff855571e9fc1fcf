"""How close synthetic rows are to real ones, each figure beside its noise floor."""
