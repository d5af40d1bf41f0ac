"""Real exchanges, by way of ccxt: the only package that imports it."""
