"""Tables of docs/, written from the figures that benchmarks left in docs/figures."""
