"""Strategies, the bots that run them, and the backtests that judge them."""
