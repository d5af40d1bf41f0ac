"""Other exchanges' faces on our paper exchange, as servers of their own."""
